package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/userspace"
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

// What a gateway does wrong on purpose is noticed: no flow that it spoils is proved, and what is wrong is told.
func TestFaultsAreNoticed(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		fault     userspace.Fault
		direction nat.Direction // that goes wrong
		got       string        // a part of what is wrong
	}{
		{userspace.ReplyUntranslated, nat.Reply, " > 10.244.198.0:"},
		{userspace.MarkLost, nat.Original, ""}, // answers come past the node, and what TCP sends again then hides the rest
		{userspace.PortTwice, nat.Original, "no packet there"},
		{userspace.EntryForgets, nat.Reply, "--ctstate INVALID -j DROP"},
	} {
		t.Run(row.fault.String(), func(t *testing.T) {
			t.Parallel()
			l, err := lab.Up(t.Context(), reference(t), lab.Options{
				Name: fmt.Sprintf("t%d-%d", os.Getpid(), labs.Add(1)), Backend: dataplane.Userspace, Gateways: lab.GatewayOptions{Fault: row.fault},
			})
			require.NoError(t, err)
			defer func() { require.NoError(t, l.Close()) }()
			report, err := verify.Lab(t.Context(), l, verify.Options{Selector: proof.Selector{Service: "velero/minio:console", From: "outside", To: "192.168.26.101"}})
			require.NoError(t, err)
			require.NotEqual(t, proof.Proved, report.Outcome())
			var found []string
			for _, f := range report.Flows {
				require.NotEqual(t, proof.Proved, f.Verdict, f.Flow)
				if f.Wrong.Direction == row.direction {
					found = append(found, f.Wrong.Got)
				}
			}
			require.Contains(t, strings.Join(found, "\n"), row.got)
		})
	}
}
