package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/userspace"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/behaviour"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
)

// wired reports whether the nodes' NAT is natlab's own, and not their kernel's.
func (l *Lab) wired() bool { return l.Backend() == dataplane.Userspace }

// GatewayOptions are how the nodes' gateways work, of a lab whose NAT is natlab's own.
type GatewayOptions struct {
	Apply    userspace.Apply `json:"apply"`    // how they carry verdicts out
	Queues   int             `json:"queues"`   // that share a node's packets; 0 is one
	Offload  bool            `json:"offload"`  // established flows that nobody needs to see pass in the kernel
	FailOpen bool            `json:"failOpen"` // packets pass as they are where a gateway is slow, stopped or killed; else they are lost
	Fault    userspace.Fault `json:"fault"`    // what they do wrong
}

// GatewayState is how a node's gateway does.
type GatewayState struct {
	Node      string `json:"node"`
	Packets   uint64 `json:"packets"`   // that were handed over, each at each hook
	Rewritten uint64 `json:"rewritten"` // of these
	Dropped   uint64 `json:"dropped"`   // of these
	Waiting   uint64 `json:"waiting"`   // for its verdict, now
	Missed    uint64 `json:"missed"`    // that found its queue full, and are lost, or passed where it fails open
}

// String is "packets 812, rewritten 400, dropped 2, waiting 0", and what was missed where that is so.
func (s GatewayState) String() string {
	text := fmt.Sprintf("packets %d, rewritten %d, dropped %d, waiting %d", s.Packets, s.Rewritten, s.Dropped, s.Waiting)
	if s.Missed > 0 {
		text += fmt.Sprintf(", missed %d: it is slow", s.Missed)
	}
	return text
}

// states are how the nodes' gateways do, sorted by node.
func (o *owned) states() (out []GatewayState, err error) {
	o.gatewayMu.Lock()
	defer o.gatewayMu.Unlock()
	for _, node := range slices.Sorted(maps.Keys(o.gateways)) {
		g := o.gateways[node]
		s := g.Stats()
		one := GatewayState{Node: node, Packets: s.Packets, Rewritten: s.Rewritten, Dropped: s.Dropped}
		if one.Waiting, one.Missed, err = g.Queued(); err != nil {
			return nil, fmt.Errorf("gateway of %s: %w", node, err)
		}
		out = append(out, one)
	}
	return out, nil
}

// checkNAT tells what is wrong with another NAT than Linux's, which is natlab's own alone.
func checkNAT(text string, on dataplane.Backend, o Options) error {
	f := o.Gateways.Fault
	own, err := behaviour.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("spec.nat of the Lab document: %w", err)
	case on != dataplane.Userspace && text != "":
		return fmt.Errorf("spec.nat of the Lab document (%s) is of natlab's own NAT: give --dataplane userspace, or leave it out", text)
	case on != dataplane.Userspace && f != userspace.NoFault:
		return fmt.Errorf("the fault %s is of natlab's own NAT: give --dataplane userspace", f)
	case on != dataplane.Userspace && o.Gateways.FailOpen:
		return errors.New("natlab's own NAT can fail open: give --dataplane userspace")
	case on != dataplane.Userspace && o.Gateways.Offload:
		return errors.New("flows are offloaded by natlab's own NAT: give --dataplane userspace")
	case on != dataplane.Userspace && o.Gateways.Queues > 1:
		return errors.New("packets come by queues to natlab's own NAT: give --dataplane userspace")
	case o.Gateways.Offload && (f != userspace.NoFault || own.Other()):
		return userspace.ErrOffload
	}
	return nil
}

// gatewayOf is the node whose gateway translates in a member's namespace, "" for none.
func (l *Lab) gatewayOf(member string) string {
	if pod, ok := l.cluster.Pod(member); ok && pod.HostNetwork {
		member = pod.Node
	}
	if l.wired() && slices.Contains(l.Nodes(), member) {
		return member
	}
	return ""
}

// plane is how rules reach the nodes.
func (l *Lab) plane() (dataplane.Dataplane, error) {
	if l.wired() {
		return &wirePlane{l}, nil
	}
	return dataplane.New(l.Backend())
}

// wirePlane has the nodes' gateways obey rules: the lab's owner has them.
type wirePlane struct{ lab *Lab }

var _ dataplane.Dataplane = (*wirePlane)(nil)

// nodeIn is the node whose namespace this is.
func (w *wirePlane) nodeIn(ns dataplane.Namespace) (string, error) {
	if h, ok := ns.(netns.Handle); ok {
		for _, of := range w.lab.plan.Namespaces {
			if of.Name == h.Name() {
				return of.Member, nil
			}
		}
	}
	return "", errors.New("the lab has no node in this namespace")
}

// Install gives a node's gateway tables; those that rs does not list stay. Its first rules begin its work.
func (w *wirePlane) Install(ctx context.Context, ns dataplane.Namespace, rs iptables.Ruleset) error {
	node, err := w.nodeIn(ns)
	if err != nil {
		return err
	}
	if w.lab.own != nil {
		return w.lab.own.obey(w.lab, node, rs)
	}
	_, err = w.lab.call(ctx, request{Do: doInstall, Node: node, Family: rs.Family, Rules: rs.String()})
	return err
}

// Dump is what a node's gateway obeys, without counters.
func (w *wirePlane) Dump(ctx context.Context, ns dataplane.Namespace, family nat.Family) (iptables.Ruleset, error) {
	node, err := w.nodeIn(ns)
	if err != nil || !slices.Contains(w.lab.Families(), family) {
		return iptables.Ruleset{Family: family}, err
	}
	answer, err := w.lab.call(ctx, request{Do: doRules, Node: node, Family: family})
	if err != nil {
		return iptables.Ruleset{}, err
	}
	return iptables.Parse(strings.NewReader(answer.Rules), family)
}

// Remove leaves a node's gateway without rules.
func (w *wirePlane) Remove(ctx context.Context, ns dataplane.Namespace) error {
	var all []error
	for _, family := range w.lab.Families() {
		all = append(all, w.Install(ctx, ns, iptables.Ruleset{Family: family}))
	}
	return errors.Join(all...)
}

// obey opens a node's gateway for the lab's families, or gives it other rules of one.
func (o *owned) obey(l *Lab, node string, rs iptables.Ruleset) error {
	o.gatewayMu.Lock()
	defer o.gatewayMu.Unlock()
	if g := o.gateways[node]; g != nil {
		held := g.Rules(rs.Family)[0].Clone()
		for _, t := range rs.Tables {
			if at := slices.IndexFunc(held.Tables, func(h iptables.Table) bool { return h.Name == t.Name }); at >= 0 {
				held.Tables[at] = t
			} else {
				held.Tables = append(held.Tables, t)
			}
		}
		if len(rs.Tables) == 0 {
			held.Tables = nil
		}
		return g.SetRules(rs.Family, gateway.Rules{held})
	}
	h, err := l.Handle(node)
	if err != nil {
		return err
	}
	facts := gateway.Facts{}
	if facts.Kernel, err = dataplane.Kernel(); err != nil {
		return err
	}
	if facts.NAT, err = behaviour.Parse(l.Cluster().NAT); err != nil {
		return err
	}
	if facts.Sets, _, err = setsIn(h); err != nil {
		return err
	}
	rules := map[nat.Family]gateway.Rules{}
	for _, family := range l.Families() {
		rules[family] = gateway.Rules{{Family: family}}
	}
	rules[rs.Family] = gateway.Rules{rs}
	with := l.gateways
	g, err := userspace.Open(h, userspace.Options{
		Node: node, Rules: rules, Facts: facts, Apply: with.Apply, Queues: with.Queues, Offload: with.Offload, FailOpen: with.FailOpen, Fault: with.Fault,
	})
	if err != nil {
		return err
	}
	if o.gateways == nil {
		o.gateways = map[string]*userspace.Gateway{}
	}
	o.gateways[node] = g
	return nil
}

// closeGateways ends the nodes' NAT.
func (l *Lab) closeGateways() {
	l.own.gatewayMu.Lock()
	defer l.own.gatewayMu.Unlock()
	for node, g := range l.own.gateways {
		_ = g.Close()
		delete(l.own.gateways, node)
	}
}

// wireEyes is what one connection to the control socket watches.
type wireEyes struct {
	on     *userspace.Gateway
	by     *userspace.Watcher
	events *userspace.Events
}

func (e *wireEyes) close() {
	if e.by != nil {
		e.by.Close()
	}
	if e.events != nil {
		e.events.Close()
	}
}

// eventsWait is how long the answer to a question for events waits for some, so that who asked is missed when it is gone.
const eventsWait = time.Second

// gateway answers what is asked of a node's gateway.
func (o *owned) gateway(q request, eyes *wireEyes) (answer reply, err error) {
	if q.Do == doRead {
		if eyes.by == nil {
			return answer, fmt.Errorf("%s comes behind %s", doRead, doWatch)
		}
		seen, lost := eyes.by.Read()
		counted := eyes.on.Counters()
		return reply{Report: &witness.PlaneReport{Seen: seen, Lost: lost, Counters: witness.Counters{
			InsertFailed: counted.InsertFailed, Drop: counted.Drop, EarlyDrop: counted.EarlyDrop, ClashResolve: counted.ClashResolve,
		}}}, nil
	}
	o.gatewayMu.Lock()
	g := o.gateways[q.Node]
	o.gatewayMu.Unlock()
	if g == nil {
		return answer, fmt.Errorf("node %q has no gateway: its NAT is the kernel's", q.Node)
	}
	switch q.Do {
	case doRules:
		if rules := g.Rules(q.Family); len(rules) > 0 {
			answer.Rules = rules[0].String()
		}
	case doInstall:
		var rs iptables.Ruleset
		if rs, err = iptables.Parse(strings.NewReader(q.Rules), q.Family); err == nil {
			err = o.obey(nil, q.Node, rs)
		}
	case doConns:
		answer.Entries = append(g.Entries(nat.IPv4), g.Entries(nat.IPv6)...)
	case doForget:
		answer.Count = g.Forget(func(c nat.Conn) bool {
			return slices.ContainsFunc(q.Conns, func(o nat.Conn) bool { return o.Original == c.Original && o.Reply == c.Reply })
		})
	case doRecent:
		g.ForgetRecent()
	case doEvents:
		if eyes.events == nil {
			eyes.events = g.Events()
			return answer, nil
		}
		answer.Events, answer.Lost = eyes.events.Read(eventsWait)
	case doWatch:
		eyes.close()
		eyes.on, eyes.by = g, g.Watch()
	}
	return answer, err
}

func (l *Lab) forgetWired(member string, match func(nat.Conn) bool) (int, error) {
	all, err := l.Conns(member)
	if err != nil {
		return 0, err
	}
	all = slices.DeleteFunc(all, func(c nat.Conn) bool { return !match(c) })
	answer, err := l.call(context.Background(), request{Do: doForget, Node: l.gatewayOf(member), Conns: all})
	return answer.Count, err
}

// Plane opens what a witness asks of a node's gateway in place of its kernel; nil where NAT is the kernel's.
func (l *Lab) Plane(node string) func() (witness.Plane, error) {
	if l.gatewayOf(node) == "" {
		return nil
	}
	return func() (witness.Plane, error) { return l.wireWitness(request{Do: doWatch, Node: node}) }
}

// wireWitness asks the lab's owner by a connection of its own, first for this.
func (l *Lab) wireWitness(first request) (*wireWitness, error) {
	s, err := openState(l.Name())
	if err != nil {
		return nil, err
	}
	defer s.dir.Close() //nolint:errcheck // opened for reading
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "unix", s.file(controlFile))
	if err != nil {
		return nil, err
	}
	p := &wireWitness{lab: l, node: first.Node, conn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}
	if _, err := p.ask(first); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return p, nil
}

// Events calls sink with what happens to the connections of a member from now on, whoever tracks there, until ctx ends or sink gives an error. ready, which may
// be nil, is called when nothing is missed any more. lost counts what could not be told.
func (l *Lab) Events(ctx context.Context, member string, ready func(), sink func(nat.Event) error) (lost uint64, err error) {
	h, err := l.Handle(member)
	if err != nil {
		return 0, err
	}
	node := l.gatewayOf(member)
	if node == "" {
		return witness.Events(ctx, h, member, ready, sink)
	}
	ask := request{Do: doEvents, Node: node}
	p, err := l.wireWitness(ask)
	if err != nil {
		return 0, err
	}
	defer p.conn.Close() //nolint:errcheck // nothing more is asked
	stop := context.AfterFunc(ctx, func() { _ = p.conn.Close() })
	defer stop()
	if ready != nil {
		ready()
	}
	for {
		answer, err := p.ask(ask)
		if ctx.Err() != nil {
			return lost, nil // it was asked for
		}
		if err != nil {
			return lost, fmt.Errorf("lab %s: %s of %s: %w", l.Name(), doEvents, node, err)
		}
		lost = answer.Lost
		for _, e := range answer.Events {
			if err := sink(e); err != nil {
				return lost, err
			}
		}
	}
}

// wireWitness is a node's gateway, as a witness sees it.
type wireWitness struct {
	lab  *Lab
	node string
	conn net.Conn
	in   *json.Decoder
	out  *json.Encoder
}

func (p *wireWitness) ask(q request) (answer reply, err error) {
	if err := p.out.Encode(q); err != nil {
		return answer, err
	}
	if err := p.in.Decode(&answer); err != nil {
		return answer, err
	}
	if answer.Error != "" {
		return answer, errors.New(answer.Error)
	}
	return answer, nil
}

// Read tells what the gateway saw since the last Read.
func (p *wireWitness) Read() (witness.PlaneReport, error) {
	answer, err := p.ask(request{Do: doRead})
	if err != nil || answer.Report == nil {
		return witness.PlaneReport{}, err
	}
	return *answer.Report, nil
}

// Conns lists the gateway's connections.
func (p *wireWitness) Conns() ([]nat.Conn, error) {
	answer, err := p.ask(request{Do: doConns, Node: p.node})
	return connsOf(answer.Entries), err
}

func connsOf(all []nat.Entry) []nat.Conn {
	out := make([]nat.Conn, len(all))
	for i, e := range all {
		out[i] = e.Conn
	}
	return out
}

// Close ends the watch.
func (p *wireWitness) Close() error { return p.conn.Close() }
