package verify

import (
	"fmt"

	"natlab/nat"
	"natlab/nat/proof"
)

// vxlanPort is where VXLAN's packets go to (RFC 7348).
const vxlanPort = 4789

// oldEntries names the entries of connection tracking that translate and that stood before anything was asked, as far as packets of
// the lab can meet them whatever their client's port: those of protocols without ports, a tunnel's among them, and of VXLAN.
func oldEntries(standing []proof.Observation) map[string][]string {
	out := map[string][]string{}
	for _, o := range standing {
		c := o.Conn
		switch c.Original.Proto() {
		case nat.TCP, nat.ICMP, nat.ICMPv6, nat.UDPLite, nat.SCTP, nat.DCCP:
			continue
		case nat.UDP:
			if c.Original.Dst().Port() != vxlanPort {
				continue
			}
		}
		if c.Reply != c.Original.Reply() {
			out[o.Node] = append(out[o.Node], fmt.Sprintf("an old entry of connection tracking translates %s: its answers are %s", c.Original, c.Reply))
		}
	}
	return out
}
