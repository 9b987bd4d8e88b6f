"""Unmodified Kubernetes manifests, as a user of kubectl would write them."""

APP = """\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    team: store
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata:
  name: high
value: 1000
globalDefault: false
description: Serves customers.
---
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  labels: {app: web, tier: front}
spec:
  priorityClassName: high
  nodeSelector:
    kubernetes.io/os: linux
  tolerations:
  - key: dedicated
    operator: Equal
    value: shop
    effect: NoSchedule
  containers:
  - name: nginx
    image: nginx:1.27
    ports:
    - containerPort: 80
    readinessProbe:
      httpGet: {path: /, port: 80}
    resources:
      requests: {cpu: 100m, memory: 64Mi}
      limits: {cpu: "1", memory: 128Mi}
---
apiVersion: v1
kind: Pod
metadata:
  name: api
  namespace: shop
  labels: {app: api, tier: back}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: api
    image: registry.example/api@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    env:
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    resources:
      requests: {cpu: 0.25, memory: 128Mi}
---
apiVersion: v1
kind: Pod
metadata:
  name: worker-1
  namespace: shop
  labels: {app: worker}
spec:
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
        - matchExpressions:
          - {key: topology.kubernetes.io/zone, operator: Exists}
  containers:
  - {name: work, image: busybox, command: [sleep, "3600"], resources: {requests: {cpu: 1}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: worker-2
  namespace: shop
  labels: {app: worker}
spec:
  containers:
  - {name: work, image: busybox, command: [sleep, "3600"], resources: {requests: {cpu: 1}}}
"""

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  containers:
  - name: main
    image: busybox
    resources:
      requests: {{cpu: 10m, memory: 16Mi}}
"""
