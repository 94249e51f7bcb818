package kubeproxy

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
)

// kube-proxy's chains become what it wants, a Service that is gone loses its own, and other agents keep what is theirs.
func TestSync(t *testing.T) {
	t.Parallel()
	const live = `*nat
:PREROUTING ACCEPT [5:300]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-OLD - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-MARK-DROP - [0:0]
:OTHER - [0:0]
-A PREROUTING -j OTHER
-A PREROUTING -m comment --comment portals -j KUBE-SERVICES
-A KUBE-SERVICES -j KUBE-SVC-OLD
-A KUBE-SVC-A -j RETURN
-A OTHER -j RETURN
COMMIT
`
	const want = `*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SVC-NEW - [0:0]
-A PREROUTING -m comment --comment first -j KUBE-SERVICES
-A PREROUTING -m comment --comment portals -j KUBE-SERVICES
-A KUBE-SERVICES -j KUBE-SVC-NEW
-A KUBE-SVC-NEW -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
COMMIT
`
	const after = `*nat
:PREROUTING ACCEPT [5:300]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-MARK-DROP - [0:0]
:OTHER - [0:0]
:KUBE-SVC-NEW - [0:0]
-A PREROUTING -m comment --comment first -j KUBE-SERVICES
-A PREROUTING -j OTHER
-A PREROUTING -m comment --comment portals -j KUBE-SERVICES
-A KUBE-SERVICES -j KUBE-SVC-NEW
-A OTHER -j RETURN
-A KUBE-SVC-NEW -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
COMMIT
`
	a, err := iptables.ParseString(live, nat.IPv4)
	require.NoError(t, err)
	b, err := iptables.ParseString(want, nat.IPv4)
	require.NoError(t, err)
	got := Sync(a, b)
	require.Equal(t, after, got.String())
	require.Equal(t, after, Sync(got, b).String(), "a second sync changes nothing")
	require.Equal(t, live, a.String(), "what it was given is as it was")
}
