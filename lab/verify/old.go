package verify

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"natlab/nat"
	"natlab/nat/proof"
)

// vxlanPort is where VXLAN's packets go to (RFC 7348).
const vxlanPort = 4789

// anyPort reports whether packets of the lab can meet an entry whatever their client's port: of a protocol without ports, such as a tunnel's, or
// of VXLAN.
func anyPort(c nat.Conn) bool {
	switch c.Original.Proto() {
	case nat.TCP, nat.ICMP, nat.ICMPv6, nat.UDPLite, nat.SCTP, nat.DCCP:
		return false
	case nat.UDP:
		return c.Original.Dst().Port() == vxlanPort
	}
	return true
}

// oldEntry names an entry that translates and that stood before anything was asked, as far as packets of the lab can meet it; "" for another.
func oldEntry(c nat.Conn) string {
	if !anyPort(c) || c.Reply == c.Original.Reply() {
		return ""
	}
	return fmt.Sprintf("an old entry of connection tracking translates %s: its answers are %s", c.Original, c.Reply)
}

// entryOf is an entry of connection tracking in a node.
type entryOf struct {
	node string
	id   uint32
}

// standing is the entries of connection tracking of some nodes as they are, by node.
func (d *driver) standing(ctx context.Context, nodes []string) ([][]nat.Conn, error) {
	conns := make([][]nat.Conn, len(nodes))
	var group errgroup.Group // the kernel looks through the entries of all namespaces each time
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, node := range nodes {
		group.Go(func() (err error) {
			conns[i], err = d.session.Conns(ctx, node)
			return err
		})
	}
	return conns, group.Wait()
}

// changed is what stands now of entries that attempts can have met: where a packet is lost, the kernel never tells what it changed of its entry. What
// stood before the first attempt has ports that none of them has, and a node where no witness saw anything has met none.
func (d *driver) changed(ctx context.Context, seen []proof.Observation) ([]proof.Observation, error) {
	nodes := met(d.nodes, seen)
	conns, err := d.standing(ctx, nodes)
	if err != nil {
		return nil, err
	}
	var out []proof.Observation
	for i, node := range nodes {
		for _, c := range conns[i] {
			if !d.before[entryOf{node, c.ID}] || anyPort(c) {
				out = append(out, proof.Observation{Kind: proof.ConnSeen, Node: node, Conn: c, ConnID: c.ID})
			}
		}
	}
	return out, nil
}

// met picks the nodes in which something was seen.
func met(nodes []string, seen []proof.Observation) []string {
	in := map[string]bool{}
	for i := range seen {
		in[seen[i].Node] = true
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(node string) bool { return !in[node] })
}
