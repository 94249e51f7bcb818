package verify

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"natlab/lab"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
	"natlab/nat/proof"
)

// Nodes that are dumped remember connections, and packets that belong to one are translated as it was when it began. A client comes upon that which
// uses a port again, as those of UDP do that keep one socket: a flow of UDP is asked once more from the very port of each connection that would have it
// go another way. Of TCP none is asked so: while a connection stands its client takes its port for no other.

// remembered is a connection of a dumped node that packets of a flow belong to.
type remembered struct {
	Flow  int    `json:"flow"` // its place in Recording.Flows
	Node  string `json:"node"`
	Entry string `json:"entry"` // as conntrack -L prints it
}

// rememberedFor is how many seconds more a connection lives at least that is asked about.
const rememberedFor = 60

// rememberedOf are the connections of a lab's dumped nodes that packets of the flows belong to: one for each way that those of a flow are translated.
func rememberedOf(l *lab.Lab, flows []proof.Flow) (out []remembered) {
	type ends struct {
		src netip.Addr
		dst netip.AddrPort
	}
	at := map[ends]int{}
	for i, f := range flows {
		if _, known := at[ends{f.Source, f.Target}]; f.Protocol == nat.UDP && !known {
			at[ends{f.Source, f.Target}] = i
		}
	}
	type way struct {
		flow int
		node string
		to   netip.AddrPort
		as   netip.Addr
	}
	taken := map[way]bool{}
	dumped := l.Dumped()
	for _, node := range slices.Sorted(maps.Keys(dumped)) {
		all, _ := dumped[node].Remembered()
		for _, e := range all {
			o := e.Original
			i, asked := at[ends{o.Src().Addr(), o.Dst()}]
			w := way{i, node, e.Reply.Src(), e.Reply.Dst().Addr()}
			if o.Proto() != nat.UDP || !asked || e.Zone != 0 || e.Seconds == 0 || taken[w] {
				continue
			}
			taken[w] = true
			out = append(out, remembered{i, node, e.String()})
		}
	}
	return out
}

// recall adds the flows from the ports of connections that would have them go another way than they have to, and than they go without.
func (v *verification) recall() error {
	if v.asIs || len(v.about.Remembered) == 0 {
		return nil
	}
	setup := v.rules.network.Setup
	setup.EntriesOf = map[string][]conntrack.Conn{}
	conns := make([]conntrack.Conn, len(v.about.Remembered))
	for i, r := range v.about.Remembered {
		read, err := conntrack.ParseEntries(r.Entry)
		if err != nil || len(read) != 1 || r.Flow < 0 || r.Flow >= len(v.states) {
			return fmt.Errorf("the connection %q of flow %d: %w", r.Entry, r.Flow, err)
		}
		conns[i] = read[0]
		setup.EntriesOf[r.Node] = append(setup.EntriesOf[r.Node], read[0])
	}
	network, err := gateway.NewNetwork(setup)
	if err != nil {
		return err
	}
	for i, r := range v.about.Remembered {
		q, c := v.states[r.Flow], conns[i]
		live, err := network.Predict(nat.Probe{From: q.flow.From, Tuple: c.Original})
		if err != nil {
			return fmt.Errorf("predict %s by the connections of %s: %w", q.flow.Name, r.Node, err)
		}
		live = v.driver.tapped(live)
		port := c.Original.Src().Port()
		intent := proof.Rebind(q.intent, predictedPort, port)
		if !misled(live, intent) || !misled(live, proof.Rebind(q.live, predictedPort, port)) {
			continue
		}
		c.Set(nat.Confirmed)
		e := c.Entry(time.Unix(0, 0))
		e.Seconds = max(e.Seconds, rememberedFor)
		v.driver.recalled = append(v.driver.recalled, c.Original)
		v.states = append(v.states, &flowState{flow: q.flow, needed: q.needed, health: q.health, intent: intent, live: live, old: &oldFlow{q, r.Node, e}})
	}
	return nil
}

// oldFlow is what a flow has that is asked from the port of a connection.
type oldFlow struct {
	of    *flowState // from any port
	node  string
	entry nat.Entry
}

// misled reports whether a prediction has a way that the other has not, the port of a masquerade aside.
func misled(live, other nat.Prediction) bool {
	return slices.ContainsFunc(live, func(o nat.Outcome) bool {
		return !slices.ContainsFunc(other, func(want nat.Outcome) bool {
			return want.End == o.End && want.Endpoint == o.Endpoint && want.ClientPeer == o.ClientPeer &&
				(want.ServerPeer == o.ServerPeer || want.ServerPeer.Port() == nat.AnyPort && want.ServerPeer.Addr() == o.ServerPeer.Addr())
		})
	})
}

// fresh are the flows that are asked from any port.
func (v *verification) fresh() []*flowState {
	return slices.DeleteFunc(slices.Clone(v.states), func(q *flowState) bool { return q.old != nil })
}

// remind has nodes remember the connections that a batch is asked by, whose time may be over. An attempt whose connection the kernel does not take is not made.
func (v *verification) remind(batch []*attempt) ([]*attempt, error) {
	var out []*attempt
	for _, t := range batch {
		if t.old != nil {
			refused, err := witness.Remember(v.driver.handles[t.old.node], []nat.Entry{t.old.entry})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.old.node, err)
			}
			if len(refused) > 0 {
				t.givenUp = true
				v.told = append(v.told, fmt.Sprintf("%s: no flow is asked by the connection %s that it remembered: %s", t.old.node, t.old.entry.Original, refused[0].Reason))
				continue
			}
		}
		out = append(out, t)
	}
	return out, nil
}

// fold adds to a flow's certificates what is not proved of it from a connection's port.
func (q *flowState) fold() {
	of := q.old.of
	for _, cert := range q.certs {
		if cert.Verdict == proof.Proved {
			continue
		}
		i := slices.IndexFunc(of.certs, func(c proof.Certificate) bool { return c.Endpoint == cert.Endpoint })
		switch {
		case i < 0:
			of.certs = append(of.certs, cert)
		case badness(cert.Verdict) > badness(of.certs[i].Verdict):
			cert.Tries += of.certs[i].Tries
			of.certs[i] = cert
		}
	}
}
