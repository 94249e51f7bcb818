package report_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/proof"
	"natlab/nat/report"
)

// A comparison has a row for each flow, what differs first, "same" where a plane did what the first did, and the reasons below.
func TestPlanes(t *testing.T) {
	t.Parallel()
	a, b := nodePort(), nodePort()
	b.Endpoint, b.Masqueraded = netip.MustParseAddrPort("10.244.169.89:9090"), false
	refused := nodePort()
	refused.Name, refused.End, refused.Endpoint, refused.Masqueraded = "outside -> no Service vms100:32767 tcp", nat.EndRefused, netip.AddrPort{}, false
	wrong := b
	wrong.ClientPeer, wrong.Verdict, wrong.Wrong = wrong.Endpoint, proof.Disproved, &proof.Wrong{Check: "reply", Want: "one", Got: "two"}
	c := proof.Compare([]proof.Flow{refused.Flow, a.Flow}, []proof.Plane{
		{Name: "legacy", Report: proof.Report{Flows: []proof.Certificate{refused, a, b}}},
		{Name: "nft", Report: proof.Report{Flows: []proof.Certificate{refused, a, b}, NotAsked: []proof.NotAsked{{Service: "default/shop:53", Reason: "why"}}}},
		{Name: "userspace", Report: proof.Report{Flows: []proof.Certificate{a, wrong}, Ended: "interrupted"}},
	})
	var out strings.Builder
	require.NoError(t, report.Planes(&out, c, report.Style{}))
	lines := strings.Split(out.String(), "\n")
	cells := func(line string) []string {
		var out []string
		for cell := range strings.SplitSeq(line, "  ") {
			if cell = strings.TrimSpace(cell); cell != "" {
				out = append(out, cell)
			}
		}
		return out
	}
	require.Equal(t, []string{"flow", "legacy", "nft", "userspace"}, cells(lines[0]))
	require.Equal(t, []string{
		a.Name, "✔ 10.244.38.178:9090 masqueraded, 10.244.169.89:9090 not masqueraded", "✔ same",
		"✘ 10.244.38.178:9090 masqueraded, 10.244.169.89:9090 seen as 10.244.169.89:9090 not masqueraded",
	}, cells(lines[1]))
	require.Equal(t, []string{refused.Name, "✔ refused", "✔ same", "? not asked"}, cells(lines[2]))
	require.Contains(t, out.String(), "\ndisproved: "+a.Name+": userspace: reply: want one, got two\n")
	require.Contains(t, out.String(), "\ninconclusive: "+refused.Name+": userspace: not asked: interrupted\n")
	require.Contains(t, out.String(), "\nnot asked: ")
	require.Contains(t, out.String(), "\nlegacy, nft, userspace: 1 of 2 flows differ, 0 proved on every plane, 1 address not asked; userspace: interrupted\n")
}
