package test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/verify"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/proof"
)

// A lab whose NAT is natlab's own is held to account as any other: no rule of kube-proxy is in a node's kernel, a rule that is gone from a
// gateway is noticed and named, and a sync brings it back.
func TestUserspaceIsHeldToAccount(t *testing.T) {
	t.Parallel()
	l := referenceLab(t, dataplane.Userspace)
	const node, service = "vms101", "velero/minio:console"
	h, err := l.Handle(node)
	require.NoError(t, err)
	inKernel, err := dataplane.DumpAll(t.Context(), h, nat.IPv4)
	require.NoError(t, err)
	require.Empty(t, inKernel)

	rs := obeyed(t, l, node)
	broken := rs.Clone()
	for i := range broken.Tables {
		for j := range broken.Tables[i].Chains {
			c := &broken.Tables[i].Chains[j]
			c.Rules = slices.DeleteFunc(c.Rules, func(r iptables.Rule) bool { return r.Target != nil && r.Target.Name() == "MASQUERADE" })
		}
	}
	require.NotEqual(t, rs.String(), broken.String())
	require.NoError(t, l.Install(t.Context(), node, broken))
	require.Equal(t, broken.String(), obeyed(t, l, node).String())
	only := verify.Options{Selector: proof.Selector{Service: service, From: "outside", To: "192.168.26.101"}}
	report, err := verify.Lab(t.Context(), l, only)
	require.NoError(t, err)
	require.Equal(t, proof.Disproved, report.Outcome())
	wrong := report.Flows[slices.IndexFunc(report.Flows, func(c proof.Certificate) bool { return c.Verdict == proof.Disproved })].Wrong
	require.Equal(t, node, wrong.Node)
	require.Contains(t, wrong.WantRule, "MASQUERADE")

	require.NoError(t, l.Sync(t.Context(), l.Cluster(), node))
	report, err = verify.Lab(t.Context(), l, only)
	require.NoError(t, err)
	require.Equal(t, proof.Proved, report.Outcome())
	conns, err := l.Conns(node)
	require.NoError(t, err)
	require.NotEmpty(t, conns)
	n, err := l.ForgetConns(node, func(nat.Conn) bool { return true })
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, len(conns))
}

// obeyed is what a node's gateway obeys.
func obeyed(t *testing.T, l *lab.Lab, node string) iptables.Ruleset {
	t.Helper()
	n, err := l.Network(t.Context())
	require.NoError(t, err)
	require.Len(t, n.Held[node], 1)
	require.Equal(t, dataplane.Userspace, n.Held[node][0].Backend)
	return n.Held[node][0].Rules
}
