"""Both partition servers over real etcd and real gRPC."""
