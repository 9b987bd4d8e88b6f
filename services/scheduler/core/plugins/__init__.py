"""The filters and scores of the default profile, one file each, named as in kube-scheduler."""
