#!/bin/sh
# Prints what natlab reads of a cluster with -f: its objects and kube-proxy's configuration, as kubectl prints them. It reads only.
#   sh collect-cluster.sh > cluster.yaml
# Pods are printed whole, with the environment that their manifests give them: look before you send it to anybody.
get() {
	echo '---'
	if ! kubectl get "$@" -o yaml; then
		echo "natlab collect: kubectl get $*: what it should have printed is missing" >&2
		echo "# kubectl get $*: failed"
		failed=1
	fi
}
failed=0
get node,pod,svc,endpointslice -A
get configmap kube-proxy -n kube-system
exit $failed
