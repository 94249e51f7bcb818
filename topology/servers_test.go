package topology

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestServers sees who listens behind a Service.
func TestServers(t *testing.T) {
	t.Parallel()
	const two = `endpoints: [{addresses: [10.244.1.5], nodeName: n1, targetRef: {kind: Pod, namespace: shop, name: w}}, {addresses: [10.244.2.9], nodeName: n2, conditions: {ready: false}}]`
	for _, row := range []struct {
		name, ports, slice string
		want               []string
	}{
		{"ready or not", `{name: p, port: 80}`, `ports: [{name: p, port: 9}], ` + two, []string{"tcp 10.244.2.9:9 shop/endpoint-10-244-2-9", "tcp 10.244.1.5:9 shop/w"}},
		{"one for two ports with one target", `{name: p, port: 80}, {name: q, port: 81}`, `ports: [{name: p, port: 9}, {name: q, port: 9}], ` + two, []string{"tcp 10.244.2.9:9 shop/endpoint-10-244-2-9", "tcp 10.244.1.5:9 shop/w"}},
		{
			"all protocols", `{name: p, port: 53}, {name: q, port: 53, protocol: UDP}, {name: r, port: 54, protocol: SCTP}`,
			`ports: [{name: p, port: 9}, {name: q, port: 9, protocol: UDP}, {name: r, port: 9, protocol: SCTP}], endpoints: [{addresses: [10.244.1.5], nodeName: n1}]`,
			[]string{"sctp 10.244.1.5:9 shop/endpoint-10-244-1-5", "tcp 10.244.1.5:9 shop/endpoint-10-244-1-5", "udp 10.244.1.5:9 shop/endpoint-10-244-1-5"},
		},
		{"in the node on the host network", `{name: p, port: 80}`, `ports: [{name: p, port: 9}], endpoints: [{addresses: [10.0.0.12]}]`, []string{"tcp 10.0.0.12:9 shop/host-n2 in n2"}},
		{"outside of the cluster there is none", `{name: p, port: 80}`, `ports: [{name: p, port: 9}], endpoints: [{addresses: [203.0.113.9]}]`, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c, _ := load(t, with(service(`ports: [`+row.ports+`]`), slice("a", row.slice)))
			servers := Servers(c)
			var got []string
			for _, s := range servers {
				text := s.String()
				if s.Member != s.Name {
					text += " in " + s.Member
				}
				got = append(got, text)
			}
			require.Equal(t, row.want, got)
		})
	}
}
