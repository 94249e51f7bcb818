package proof

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// A lost packet is blamed on what is otherwise where it was seen last, then behind that on its way, then before, and at last in what
// carries packets between the nodes; never on what is not on its way.
func TestTheWorldIsBlamedInThePacketsOrder(t *testing.T) {
	otherwise := []string{"device x is down"}
	atSwitch := hop("vms100", nat.TapOutRaw, "ens32", snated, 0, outer)
	atPod := hop(pod, nat.TapPreRaw, "eth0", snated, 0)
	answer := hop("vms105", nat.TapPreRaw, "calia011d753862", back(snated), 0)
	for _, row := range []struct {
		name    string
		last    nat.Hop
		differs []string
		want    string // "" for nobody
	}{
		{"where it was seen last", atPod, []string{"vms105", pod, "outside"}, pod},
		{"behind where it was seen last", atSwitch, []string{"outside", "vms105"}, "vms105"},
		{"before", atPod, []string{"vms100"}, "vms100"},
		{"of an answer, on its way back", answer, []string{"vms100", pod}, "vms100"},
		{"the switch", atSwitch, []string{"underlay"}, "underlay"},
		{"the switch behind all on the way", atSwitch, []string{"underlay", "vms105"}, "vms105"},
		{"not on the way", atSwitch, []string{"vms103"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := asPredicted()
			c.Strict, c.Vanished, c.Between, c.World = false, true, []string{"underlay"}, map[string][]string{}
			c.Ends, c.Controls = Ends{End: nat.EndLost}, nil
			c.Seen = Join([]nat.Probe{c.Probe}, observe(answered()))[0]
			c.Seen.LastHop = row.last
			c.Seen.LastHop.Tuple = bind(row.last.Tuple)
			for _, member := range row.differs {
				c.World[member] = otherwise
			}
			w := Check(c).Wrong
			if row.want == "" {
				require.NotEqual(t, FaultNode, w.Fault)
				require.Contains(t, w.Why, "the taps saw it last at vms100")
				return
			}
			require.Equal(t, [3]any{FaultNode, row.want, row.want + ": device x is down"}, [3]any{w.Fault, w.Node, w.Why})
		})
	}
}

// Who answers at the address that the rules lead to has to be the one who has it.
func TestSomebodyElseAnswers(t *testing.T) {
	c := asPredicted()
	c.Strict, c.Controls = false, nil
	c.Ends.Server = "somebody/else"
	cert := Check(c)
	require.Equal(t, Disproved, cert.Verdict)
	require.Equal(t, [3]any{FaultServer, pod, "somebody/else answers at 10.244.169.89:9090 in " + pod + ", where " + pod + " has to"},
		[3]any{cert.Wrong.Fault, cert.Wrong.Node, cert.Wrong.Why})
	c.Ends.ServerAddr = netip.MustParseAddrPort(other)
	require.NotEqual(t, FaultServer, Check(c).Wrong.Fault, "the packet went elsewhere")
}

// Nobody is blamed for not listening where the packet never came: it was refused elsewhere.
func TestRefusedElsewhere(t *testing.T) {
	c := asPredicted()
	refused := answered()
	refused.End, refused.Request, refused.Reply, refused.Conns = nat.EndRefused, nat.Journey{Hops: requestHops()[:3]}, nat.Journey{}, nil
	c.Strict, c.Controls, c.Live, c.Ends = false, nil, nat.Prediction{refused}, Ends{End: nat.EndRefused}
	c.Seen = Join([]nat.Probe{c.Probe}, observe(refused))[0]
	require.NotEqual(t, FaultServer, Check(c).Wrong.Fault)
}

// What a packet meets in a table of nf_tables that is none of iptables' is in no prediction: where it does nothing all is proved, and
// where it drops, it is named.
func TestTablesThatAreNotOfIPTables(t *testing.T) {
	at := func(rule int, v nat.Verdict, text string) nat.Step {
		s := step("vms105", nat.Forward, "inet filter", "forward", rule, v, snated, "")
		s.Text = text
		return s
	}
	live := answered()
	passes := answered()
	passes.Request.Steps = append(passes.Request.Steps, at(1, nat.Continue, "rule 1 of the chain forward in the nft table inet filter"), at(0, nat.Accept, ""))
	c := asPredicted()
	c.Strict, c.Live, c.Seen = false, nat.Prediction{live}, Join([]nat.Probe{c.Probe}, observe(passes))[0]
	cert := Check(c)
	require.Equal(t, Proved, cert.Verdict, "%+v", cert.Wrong)

	drops := answered()
	drops.Request.Steps = append(drops.Request.Steps, at(2, nat.Drop, "rule 2 of the chain forward in the nft table inet filter"))
	drops.Request.Hops, drops.Reply, drops.Conns = drops.Request.Hops[:8], nat.Journey{}, drops.Conns[:1]
	c.Seen, c.Vanished = Join([]nat.Probe{c.Probe}, observe(drops))[0], true
	c.Ends, c.Controls = Ends{End: nat.EndLost}, nil
	cert = Check(c)
	require.Equal(t, Disproved, cert.Verdict)
	require.Equal(t, [3]any{FaultRules, "vms105", "rule 2 of the chain forward in the nft table inet filter"},
		[3]any{cert.Wrong.Fault, cert.Wrong.Node, cert.Wrong.LiveRule})
}
