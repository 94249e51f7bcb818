package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// get lists the reference cluster by every form of kubectl's, and tells what there is where something is not.
func TestGet(t *testing.T) {
	t.Parallel()
	const file = "-f ../../topology/reference/cluster.yaml "
	for _, row := range []struct {
		args, out, err string // parts of what is printed
		status         int
	}{
		{"svc -n velero", "NAME    TYPE       CLUSTER-IP      EXTERNAL-IP   PORT(S)                         AGE\nminio   NodePort   10.98.180.238   <none>        9000:30934/TCP,9099:30450/TCP   <unknown>\n", "", 0},
		{"svc -n velero --no-headers", "minio   NodePort", "", 0},
		{"services -A", "NAMESPACE     NAME                   TYPE           CLUSTER-IP      EXTERNAL-IP      PORT(S)", "", 0},
		{"svc,ep -n velero", "service/minio", "", 0},
		{"svc,ep -n velero", "\n\nNAME              ENDPOINTS", "", 0},
		{"nodes -o wide", "INTERNAL-IP", "", 0},
		{"nodes vms103 vms100 -o name", "node/vms103\nnode/vms100\n", "", 0},
		{"pods -A -o name", "pod/minio-b6d98746c-m7rzc\n", "", 0},
		{"pod -n velero -o jsonpath={.items[*].status.podIP}", "10.244.38.178 10.244.169.89", "", 0},
		{"node/vms100 -o jsonpath=.status.addresses[0].address", "192.168.26.100", "", 0},
		{"no -o go-template={{len_.items}}", "6", "", 0},
		{"svc minio -n velero -o yaml", "kind: Service\nmetadata:\n  name: minio\n", "", 0},
		{"svc -n velero -o json", `"kind": "List"`, "", 0},
		{"pods", "release-name-grafana-5d8c6f6c6b-x7k2p", "", 0},
		{"svc minoi -n velero", "", `natlab: no Service "minoi" in namespace velero; there is minio`, 2},
		{"node/vms10", "", `natlab: no Node "vms10"; there are vms100, vms101, vms102, vms103, vms105, vms106; did you mean vms100?`, 2},
		{"servces", "", `natlab: no type "servces"; there are nodes, pods, services, endpoints; did you mean services?`, 2},
		{"svc/", "", `natlab: "svc/": want TYPE/NAME`, 2},
		{"", "", "natlab: no type given: there are nodes, pods, services, endpoints", 2},
		{"svc -o xml", "", "want wide, yaml, json, name, jsonpath=TEMPLATE or go-template=TEMPLATE", 2},
		{"svc -o jsonpath", "", "a template is missing", 2},
		{"svc -o jsonpath={", "", "-o jsonpath: ", 2},
		{"svc -o go-template={{", "", "-o go-template: ", 2},
		{"pods -n nowhere", "", "No resources found in nowhere namespace.\n", 0},
		{"svc --name a", "", "-f and --name exclude each other", 2},
	} {
		var out, errs strings.Builder
		p := program{in: strings.NewReader(""), out: &out, err: &errs}
		words := strings.Fields("get " + file + row.args)
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "_", " ")
		}
		require.Equal(t, row.status, p.run(t.Context(), words), "%s: %s", row.args, errs.String())
		require.Contains(t, out.String(), row.out, row.args)
		require.Contains(t, errs.String(), row.err, row.args)
	}
}
