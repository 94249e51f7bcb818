package topology

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// hostPod is a Pod of node n1 with these containers.
func hostPod(spec string) string {
	return with("{apiVersion: v1, kind: Pod, metadata: {name: w, namespace: shop}, spec: {nodeName: n1, " + spec + "}, status: {phase: Running, podIP: 10.244.1.5}}")
}

// Which ports of its node a Pod has, and what listens behind them.
func TestHostPorts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, spec, ports, servers string }{
		{"a port", "containers: [{name: c, ports: [{containerPort: 8000, hostPort: 80}, {containerPort: 9}]}]", "[{invalid IP 80 8000 TCP}]", "[tcp 10.244.1.5:8000 shop/w]"},
		{"of an address, and twice", "containers: [{name: c, ports: [{containerPort: 8000, hostPort: 80, hostIP: 192.0.2.1, protocol: UDP}]}, {name: d, ports: [{containerPort: 8000, hostPort: 80, hostIP: 192.0.2.1, protocol: UDP}]}]", "[{192.0.2.1 80 8000 UDP}]", "[udp 10.244.1.5:8000 shop/w]"},
		{"two ports to one", "containers: [{name: c, ports: [{containerPort: 8000, hostPort: 80}, {containerPort: 8000, hostPort: 81}]}]", "[{invalid IP 80 8000 TCP} {invalid IP 81 8000 TCP}]", "[tcp 10.244.1.5:8000 shop/w]"},
		{"of a sidecar, not of what has ended", "initContainers: [{name: a, ports: [{containerPort: 1, hostPort: 1}]}, {name: b, restartPolicy: Always, ports: [{containerPort: 2, hostPort: 2}]}]", "[{invalid IP 2 2 TCP}]", "[tcp 10.244.1.5:2 shop/w]"},
		{"on the host network all", "hostNetwork: true, containers: [{name: c, ports: [{containerPort: 9100}]}]", "[{invalid IP 9100 9100 TCP}]", "[tcp 10.244.1.5:9100 shop/w]"},
		{"of SCTP", "containers: [{name: c, ports: [{containerPort: 8000, hostPort: 80, protocol: SCTP}]}]", "[{invalid IP 80 8000 SCTP}]", "[sctp 10.244.1.5:8000 shop/w]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c, _ := load(t, hostPod(row.spec))
			require.Equal(t, row.ports, fmt.Sprint(c.Pods[0].HostPorts))
			servers := Servers(c)
			require.Equal(t, row.servers, fmt.Sprint(servers))
		})
	}
}

func TestWrongHostPorts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, port, want string }{
		{"no port", "{containerPort: 8000, hostPort: 65536}", `in.yaml: document 3: Pod shop/w: container "c": port 8000: hostPort 65536: want ports of 1 to 65535`},
		{"no container's port", "{containerPort: 0, hostPort: 80}", `in.yaml: document 3: Pod shop/w: container "c": port 0: hostPort 80: want ports of 1 to 65535`},
		{"no address", "{containerPort: 8000, hostPort: 80, hostIP: eth0}", `in.yaml: document 3: Pod shop/w: container "c": port 8000: hostIP: "eth0" is not an IP address`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := loadText(hostPod("containers: [{name: c, ports: [" + row.port + "]}]"))
			require.EqualError(t, err, row.want)
		})
	}
}
