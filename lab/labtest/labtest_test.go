package labtest_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/labtest"
	"natlab/lab/traffic"
	"natlab/nat"
)

const shop = `
apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDRs: [10.244.1.0/24]}
status:
  addresses:
  - {type: InternalIP, address: 192.168.1.11}
---
apiVersion: v1
kind: Node
metadata: {name: node-2}
spec: {podCIDRs: [10.244.2.0/24]}
status:
  addresses:
  - {type: InternalIP, address: 192.168.1.12}
---
apiVersion: v1
kind: Pod
metadata: {name: shop-1, labels: {app: shop}}
spec: {nodeName: node-1}
status: {phase: Running, podIPs: [{ip: 10.244.1.2}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: shop-2, labels: {app: shop}}
spec: {nodeName: node-2}
status: {phase: Running, podIPs: [{ip: 10.244.2.2}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.80
  selector: {app: shop}
  ports:
  - {port: 80, targetPort: 8080, nodePort: 30080}
`

// A lab ends with its test, whether that ends it itself or not.
func TestLabEndsWithItsTest(t *testing.T) {
	var names []string
	for _, how := range []string{"left up", "taken down"} {
		t.Run(how, func(t *testing.T) {
			l := labtest.New(t, labtest.Parse(t, shop))
			names = append(names, l.Name())
			h, err := l.Handle("default/shop-1")
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			a, err := traffic.Ask(ctx, h, nat.TupleOf(nat.TCP, netip.AddrPort{}, netip.MustParseAddrPort("10.96.0.80:80")))
			require.NoError(t, err)
			require.Contains(t, []string{"default/shop-1", "default/shop-2"}, a.Server)
			if how == "taken down" {
				require.NoError(t, l.Down(t.Context()))
			}
		})
	}
	all, err := lab.List()
	require.NoError(t, err)
	for _, s := range all {
		require.NotContains(t, names, s.Name)
	}
	require.Len(t, names, 2)
	require.NotEqual(t, names[0], names[1])
}
