package proof

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// What a rule does that may is no fault of the Service, and is named: a masquerade that nobody asked for, and the end of a packet. The same of a rule
// that may not is disproved, and a packet that went on by another rule than that is not excused by it.
func TestAllowed(t *testing.T) {
	t.Parallel()
	may := func(text string) func(nat.Step) (string, string) {
		return func(s nat.Step) (string, string) {
			if s.Text == text {
				return "an agent", "its purpose"
			}
			return "", ""
		}
	}
	const masquerades, drops = "-A KUBE-POSTROUTING -j MASQUERADE --random-fully", "-A policy -j DROP"
	asItself := func(c *Case) {
		c.Needed.Endings[1].Masqueraded, c.Needed.Endings[1].Client = false, []netip.Addr{c.Probe.Tuple.Src().Addr()}
	}
	dropped := func(c *Case) { // in vms100, behind the translation
		o := answered()
		o.End, o.Endpoint, o.Server, o.Conns, o.Reply = nat.EndLost, netip.AddrPort{}, "", nil, nat.Journey{}
		o.Request.Hops = o.Request.Hops[:4]
		o.Request.Steps = append(o.Request.Steps[:9:9], step("vms100", nat.Forward, "filter", "policy", 1, nat.Drop, dnated, drops))
		c.Live, c.Ends, c.Controls = nat.Prediction{o}, Ends{End: nat.EndLost}, nil
		c.Seen = Join([]nat.Probe{c.Probe}, observe(o))[0]
	}
	for _, row := range []struct {
		name    string
		change  func(*Case)
		may     string
		verdict Outcome
		rule    string // that it is allowed by
	}{
		{"as it has to be", func(*Case) {}, masquerades, Proved, ""},
		{"masqueraded by one that may", asItself, masquerades, Proved, masquerades},
		{"masqueraded by another", asItself, drops, Disproved, ""},
		{"masqueraded, strictly", func(c *Case) { asItself(c); c.Strict = true }, masquerades, Disproved, ""},
		{"dropped by one that may", dropped, drops, Proved, drops},
		{"dropped by another", dropped, masquerades, Disproved, ""},
		{"dropped, strictly", func(c *Case) { dropped(c); c.Strict = true }, drops, Disproved, ""},
		{"dropped where the live rules do not", func(c *Case) { live := c.Live; dropped(c); c.Live = live }, drops, Disproved, ""},
		{"dropped without a rule", func(c *Case) {
			dropped(c)
			c.Seen.Request.Steps = slices.DeleteFunc(c.Seen.Request.Steps, func(s nat.Step) bool { return s.Verdict == nat.Drop })
		}, drops, Disproved, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := asPredicted()
			c.Strict, c.Needed, c.Allowed = false, fixtureNeeds(), may(row.may)
			row.change(&c)
			cert := Check(c)
			require.Equal(t, row.verdict, cert.Verdict, "%+v\n%+v", cert.Checks, cert.Wrong)
			if row.rule == "" {
				require.Empty(t, cert.AllowedBy)
				return
			}
			require.Len(t, cert.AllowedBy, 1)
			require.Equal(t, "an agent (its purpose) in vms100: "+row.rule, cert.AllowedBy[0].String())
		})
	}
}
