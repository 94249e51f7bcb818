package report

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/proof"
)

// item is one thing on a mind map.
type item struct {
	Kind   string // "node", "packet", "rule", "route", "end"
	Label  string
	Place  string // of a rule: its chain and number
	Text   string // of a rule: what it did
	Match  string // of a rule: what it asks
	Packet *packetCell
	Undone string // of a packet whose translation was undone: what would be without
	Did    []string

	key string // equal for what is the same in two flows, whatever ports their clients have
}

// branch is a part of a mind map: what happened one after another, and then the ways that part from there.
type branch struct {
	Items    []item
	Branches []*branch
}

// items are a journey's, in its order.
func items(scenes []scene, c proof.Certificate, dir nat.Direction) (out []item) {
	for _, s := range scenes {
		out = append(out, item{Kind: "node", Text: s.node, Label: strings.TrimSpace(s.part), key: s.node})
		table := ""
		for _, l := range s.lines {
			i := item{Did: l.did}
			switch {
			case l.route != nil:
				i.Kind, i.Text, i.key = "route", l.route.Route, l.route.Route
			case l.hop != nil:
				i.Kind, i.Packet = "packet", &packetCell{l.label, l.proto, l.src, l.dst, l.srcNew, l.dstNew, l.inside, nil}
				t := l.hop.Tuple
				i.key = l.label + t.Src().Addr().String() + t.Dst().Addr().String() + l.inside
				if dir == nat.Reply {
					i.Undone = undone(c, s.node, l)
				}
			default:
				if l.label != "" {
					table = l.label
				}
				i.Kind, i.Label, i.Place, i.Text, i.Match = "rule", table, l.place, l.target, l.match
				i.key = table + l.place + l.target
			}
			i.key = i.Kind + i.key
			out = append(out, i)
		}
	}
	return out
}

// add puts a way onto the map: along what is there already as far as it is the same.
func (b *branch) add(way []item) {
	if len(way) == 0 {
		return
	}
	at := slices.IndexFunc(b.Branches, func(o *branch) bool { return o.Items[0].key == way[0].key && way[0].key != "" })
	if at < 0 {
		at = len(b.Branches)
		b.Branches = append(b.Branches, &branch{Items: way[:1]})
	}
	b.Branches[at].add(way[1:])
}

// fold makes one of a branch and the only one that follows it.
func (b *branch) fold() {
	for len(b.Branches) == 1 {
		only := b.Branches[0]
		b.Items = append(slices.Clone(b.Items), only.Items...)
		b.Branches = only.Branches
	}
	for _, next := range b.Branches {
		next.fold()
	}
}

// serviceTree is the chains of a Service port that translate, as its flows went through them.
type serviceTree struct {
	Name  string
	Rules []*treeRule
}

// treeRule is a rule of a Service's tree, with those of the chain that it leads to.
type treeRule struct {
	Chain, Text, Match string
	Flows              int // that met it
	Rules              []*treeRule
}

// serviceTrees are the trees of all Services, in the order of the flows: the nat rules that requests met where they were translated.
func serviceTrees(flows []proof.Certificate) (out []serviceTree) {
	for _, c := range flows {
		if c.Service == "" {
			continue
		}
		at := slices.IndexFunc(out, func(s serviceTree) bool { return s.Name == c.Service })
		if at < 0 {
			at = len(out)
			out = append(out, serviceTree{Name: c.Service})
		}
		out[at].add(c)
	}
	return slices.DeleteFunc(out, func(s serviceTree) bool { return len(s.Rules) == 0 })
}

// add counts a flow at each rule that it met. The rules that stand open are those of the chains that the packet is in.
func (s *serviceTree) add(c proof.Certificate) {
	var open []*treeRule
	for _, m := range c.Met {
		if m.Direction != nat.Original || m.Node != c.Node || m.Table != "nat" || m.Hook != nat.PreRouting && m.Hook != nat.Output || m.Rule == 0 {
			continue
		}
		for len(open) > 0 && open[len(open)-1].Text != "→ "+m.Chain {
			open = open[:len(open)-1] // the packet came back out of that chain
		}
		among := &s.Rules
		if len(open) > 0 {
			among = &open[len(open)-1].Rules
		}
		text, match := brief(m.Step)
		at := slices.IndexFunc(*among, func(r *treeRule) bool { return r.Chain == m.Chain && r.Text == text && r.Match == match })
		if at < 0 {
			at = len(*among)
			*among = append(*among, &treeRule{Chain: m.Chain, Text: text, Match: match})
		}
		r := (*among)[at]
		r.Flows++
		if m.Verdict == nat.Jump || m.Verdict == nat.Goto {
			open = append(open, r)
		}
	}
}
