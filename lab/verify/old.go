package verify

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

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

// standing is the nodes' connection tracking entries as they are: where a packet is lost, the kernel never tells what
// it changed of its entry.
func (d *driver) standing(ctx context.Context) ([]proof.Observation, error) {
	conns := make([][]nat.Conn, len(d.nodes))
	var group errgroup.Group // the kernel looks through the entries of all namespaces each time
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, node := range d.nodes {
		group.Go(func() (err error) {
			conns[i], err = d.session.Conns(ctx, node)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var out []proof.Observation
	for i, node := range d.nodes {
		for _, c := range conns[i] {
			out = append(out, proof.Observation{Kind: proof.ConnSeen, Node: node, Conn: c, ConnID: c.ID})
		}
	}
	return out, nil
}
