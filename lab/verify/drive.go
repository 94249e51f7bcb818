package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"natlab/lab/netns"
	"natlab/lab/traffic"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/proof"
	"natlab/topology"

	"golang.org/x/sys/unix"
)

// How long a client waits. A flow that should be answered has all the time that a loaded machine may need; one that is lost
// is over as soon as the witnesses know it.
const clientPatience = 30 * time.Second

// A control run has no taps to tell that a packet is lost: a flow that is not answered in this time is left to the watched run,
// and where that sees it answered it is asked once more, with more time.
const (
	controlMoment   = 300 * time.Millisecond // for what the nodes' rules will lose
	controlPatience = time.Second
	controlPatient  = 10 * time.Second
)

// A packet is lost where for so many looks nothing new was seen of it, and the kernel had nothing on its way at the last ones.
const (
	lookEach    = 20 * time.Millisecond
	restOfLooks = 4 // how many times as long as a look took there is none
	quietLooks  = 3
	idleLooks   = 2
)

// attempt is a flow asked once.
type attempt struct {
	*flowState
	probe  nat.Probe
	intent nat.Prediction
	live   nat.Prediction
	bound  uint16         // the source port that these are for
	stuck  netip.AddrPort // the endpoint that session affinity binds the client to
	ends   proof.Ends
	// overdue reports that the client waited in vain for all its clientPatience.
	overdue bool
	lost    bool // by the evidence of the taps, or of the sockets
	whole   bool // all its packets are watched
	conn    *traffic.Conn
	looks
}

// looks is what was seen of an attempt so far: the newest observation, and for how many looks there was no newer one.
type looks struct {
	last        uint64
	quiet, idle int
}

// driver sends attempts through a lab and collects what the witnesses see of them.
type driver struct {
	handles  map[string]netns.Handle
	servers  []topology.Server
	nodes    []string
	members  []string // that are watched
	chains   proof.Chains
	session  *witness.Session
	world    map[string][]string // what is otherwise in a member than the lab made it
	watched  bool                // the session sees packets and rules, not only connections
	patient  time.Duration       // how long a client waits in a control run
	ports    *portBook
	recalled []nat.Tuple         // of connections that flows are asked by
	before   map[entryOf]bool    // entries of connection tracking that stood before the first attempt
	entries  proof.Held          // the tuples that connections hold, and held
	live     *gateway.Network    // where each source port needs a prediction of its own; else nil
	seen     []proof.Observation // the last batch's
	size     int                 // bytes of a request, and of its answer: more than a packet holds
	wired    map[string]bool     // nodes whose NAT is not their kernel's
	tunnels  map[string]bool     // devices, "NODE NAME", behind which a process carries the packets; empty where the kernel does
}

// use goes on with another session.
func (d *driver) attach(ctx context.Context, s *witness.Session, c topology.Cluster) error {
	d.session = s
	if d.ports != nil {
		return nil
	}
	standing, err := d.standing(ctx, d.nodes)
	if err != nil {
		return err
	}
	d.before = map[entryOf]bool{}
	for i, node := range d.nodes {
		for _, c := range standing[i] {
			if slices.Contains(d.recalled, c.Original) { // an attempt's own
				continue
			}
			d.entries.Learn([]proof.Observation{{Kind: proof.ConnSeen, Node: node, Conn: c, ConnID: c.ID}})
			d.before[entryOf{node, c.ID}] = true
			if line := oldEntry(c); line != "" {
				d.world[node] = append(d.world[node], line)
			}
		}
	}
	d.ports = newPortBook(c, slices.Concat(standing...), rand.Uint32())
	for _, t := range d.recalled {
		d.ports.taken[clientSocket{t.Proto(), t.Src()}] = true
	}
	return nil
}

// batch asks all attempts at once and returns what was seen from before the first until after the last, in the room of the batch before.
func (d *driver) batch(ctx context.Context, attempts []*attempt) ([]proof.Observation, error) {
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	open := make(map[*attempt]context.CancelFunc, len(attempts))
	over := make(chan *attempt, len(attempts))
	for from, members := range bySender(attempts) {
		starts, err := d.start(from, members)
		if err != nil {
			errs = append(errs, err)
			break
		}
		for i, t := range members {
			ctx, cancel := context.WithTimeout(ctx, d.patience(t))
			open[t] = cancel
			wait.Go(func() {
				defer cancel()
				err := t.ask(ctx, starts[i], d.sizeOf(t))
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				over <- t
			})
		}
	}
	seen, err := d.await(ctx, open, over)
	wait.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	if seen, err = d.session.DrainTo(ctx, seen); err != nil {
		return nil, err
	}
	if d.watched && slices.ContainsFunc(attempts, func(t *attempt) bool { return t.ends.End == nat.EndLost }) {
		changed, err := d.changed(ctx, seen)
		if err != nil {
			return nil, err
		}
		seen = append(seen, changed...)
	}
	d.seen = seen
	return seen, nil
}

// patience is how long a client waits.
func (d *driver) patience(t *attempt) time.Duration {
	switch {
	case d.watched:
		return clientPatience
	case loses(t.live) && (d.patient < controlPatient || !answers(t.live)):
		return controlMoment
	}
	return d.patient
}

// await collects what is seen until all attempts are over, and ends each that is lost, by itself: another's answer may be late.
func (d *driver) await(ctx context.Context, open map[*attempt]context.CancelFunc, over <-chan *attempt) ([]proof.Observation, error) {
	look := time.NewTicker(lookEach)
	defer look.Stop()
	all := d.seen[:0]
	known := 0           // how many there were at the last tick: while more come, nothing is lost
	var rested time.Time // from when on there may be another look: on a slow machine looking takes its time, too
	for len(open) > 0 {
		select {
		case t := <-over:
			delete(open, t)
			continue
		case <-ctx.Done():
			return all, ctx.Err()
		case <-look.C:
		}
		if !d.watched { // nothing is told from it
			continue
		}
		var err error
		if all, err = d.session.DrainTo(ctx, all); err != nil {
			return all, err
		}
		news, began := len(all) > known, time.Now()
		if known = len(all); news || began.Before(rested) {
			continue
		}
		if err := d.endLost(ctx, open, all); err != nil {
			return all, err
		}
		rested = time.Now().Add(restOfLooks * time.Since(began))
	}
	return all, nil
}

// endLost ends the attempts that are lost: that were seen to go all the way that the live rules predict for them, to where they
// are lost, or of which nothing more can come.
func (d *driver) endLost(ctx context.Context, open map[*attempt]context.CancelFunc, all []proof.Observation) error {
	waiting := slices.Collect(maps.Keys(open))
	joined := proof.Join(probesOf(waiting), all)
	idle := false
	if slices.ContainsFunc(waiting, func(t *attempt) bool { return t.quiet >= quietLooks }) {
		var err error
		if idle, err = d.session.Idle(ctx); err != nil {
			return err
		}
	}
	sent := resent{driver: d}
	for i, t := range waiting {
		s := joined[i]
		t.look(s.Last, idle)
		if t.conn != nil && t.probe.Tuple.Proto() == nat.TCP { // what was kept back was sent, too
			s.Sent = max(s.Sent, 1+t.conn.Resent())
		}
		switch {
		case loses(t.live) && proof.LostAsPredicted(t.live, s, d.chains):
			open[t]()
		case t.idle >= idleLooks && proof.LostByEvidence(t.probe, s, d.held):
			t.lost = true
			open[t]()
		case t.idle >= idleLooks && t.conn != nil && t.conn.Stage() != traffic.Connecting:
			if t.lost = sent.enough(t, s); t.lost {
				open[t]()
			}
		}
	}
	return sent.err
}

// look notes the newest observation of the attempt, and whether the kernel was idle then.
func (l *looks) look(last uint64, idle bool) {
	switch {
	case last != l.last:
		*l = looks{last: last}
	case !idle:
		l.quiet, l.idle = l.quiet+1, 0
	default:
		l.quiet, l.idle = l.quiet+1, l.idle+1
	}
}

// held reports whether a packet that was seen there last may be with a process: the server that it is for, or the end of a
// tunnel.
func (d *driver) held(h nat.Hop) bool {
	if d.tunnels[h.Node+" "+h.Dev] && h.Tap == nat.TapPost || len(d.tunnels) > 0 && h.Outer.IsValid() && h.Tap.Hook() == nat.PreRouting {
		return true
	}
	proto := h.Tuple.Proto()
	return (proto == nat.UDP || proto == nat.SCTP) && slices.ContainsFunc(d.servers, func(s topology.Server) bool {
		return s.Member == h.Node && s.Addr == h.Tuple.Dst() && s.Proto == proto.String()
	})
}

func bySender(attempts []*attempt) map[string][]*attempt {
	groups := map[string][]*attempt{}
	for _, t := range attempts {
		groups[t.probe.From] = append(groups[t.probe.From], t)
	}
	return groups
}

// loses reports whether a prediction has a way that ends in silence.
func loses(p nat.Prediction) bool {
	for _, o := range p {
		if o.End == nat.EndLost {
			return true
		}
	}
	return len(p) == 0
}

// answers reports whether a prediction has a way that is answered.
func answers(p nat.Prediction) bool {
	return slices.ContainsFunc(p, func(o nat.Outcome) bool { return o.End == nat.EndAnswered })
}

// starting is a client's socket, or why there is none.
type starting struct {
	conn *traffic.Conn
	err  error
}

// start lets one member start to ask all its attempts.
func (d *driver) start(from string, attempts []*attempt) ([]starting, error) {
	h, ok := d.handles[from]
	if !ok {
		return nil, fmt.Errorf("client %s: the lab has no such member", from)
	}
	tuples := make([]nat.Tuple, len(attempts))
	for i, t := range attempts {
		tuples[i] = t.probe.Tuple
	}
	conns, errs := traffic.Start(h, tuples)
	out := make([]starting, len(attempts))
	for i, t := range attempts {
		for again := 0; t.old == nil && errors.Is(errs[i], unix.EADDRINUSE) && again < maxBusyPorts; again++ { // a socket of somebody else in the namespace
			if err := d.rebind(t); err != nil {
				return nil, err
			}
			c, err := traffic.Start(h, []nat.Tuple{t.probe.Tuple})
			conns[i], errs[i] = c[0], err[0]
		}
		if d.watched { // without taps nothing is held against a way
			t.bind()
		}
		t.conn = conns[i]
		out[i] = starting{conns[i], errs[i]}
	}
	return out, nil
}

// maxBusyPorts is how many source ports in a row may be taken by others.
const maxBusyPorts = 20

// ask waits for the answer and writes down what the sockets saw.
func (t *attempt) ask(ctx context.Context, s starting, size int) error {
	r := traffic.Result{Err: s.err}
	var checked traffic.Health
	switch {
	case s.err != nil:
	case t.flow.Type == proof.ByHealthCheck, asksProxy(t.live):
		r.Answer, checked, r.Err = s.conn.CheckHealth(ctx)
	default:
		r.Answer, r.Err = s.conn.Exchange(ctx, size)
	}
	ends, err := endsOf(r)
	if err != nil {
		return fmt.Errorf("client %s: %w", t.probe.From, err)
	}
	if checked.Status != 0 {
		ends.Health = checked.String()
	}
	t.ends = ends
	t.overdue = r.Err != nil && traffic.KindOf(r.Err) == traffic.Timeout && errors.Is(ctx.Err(), context.DeadlineExceeded)
	return nil
}

// asksProxy reports whether a node's kube-proxy itself answers, which speaks HTTP alone.
func asksProxy(p nat.Prediction) bool {
	return slices.ContainsFunc(p, func(o nat.Outcome) bool { return o.Server == topology.KubeProxyServer })
}

// endsOf translates what the sockets know; a socket that could not be used at all is an error.
func endsOf(r traffic.Result) (proof.Ends, error) {
	halted := haltOf(r.Err)
	if a := r.Answer; a.Endpoint.IsValid() {
		return proof.Ends{End: nat.EndAnswered, Server: a.Server, ServerAddr: a.Endpoint, ServerPeer: a.PeerSeen, ClientPeer: a.From, Halted: halted}, nil
	}
	switch traffic.KindOf(r.Err) {
	case traffic.Refused, traffic.Unreachable:
		return proof.Ends{End: traffic.EndOf(r.Err), Halted: halted}, nil
	case traffic.Timeout:
		return proof.Ends{End: nat.EndLost, Halted: halted}, nil
	case traffic.Reset, traffic.Garbled:
		return proof.Ends{End: nat.EndUnknown, Halted: halted}, nil
	case traffic.Broken:
		if halted != "" {
			return proof.Ends{End: nat.EndUnknown, Halted: halted}, nil
		}
	}
	return proof.Ends{}, r.Err
}

// haltOf is how an exchange failed whose connection was made, of TCP or SCTP; "" for one that did not, or whose was not made.
func haltOf(err error) string {
	f, ok := errors.AsType[*traffic.Failure](err)
	if !ok || f.Tuple.Proto() == nat.UDP || f.Stage == traffic.Connecting {
		return ""
	}
	if f.Kind == traffic.Broken {
		return "the connection was made, and then it broke: " + f.Err.Error()
	}
	how := map[traffic.Kind]string{traffic.Reset: "an RST ended it", traffic.Unreachable: "an ICMP error ended it", traffic.Garbled: "something else answered"}[f.Kind]
	if how == "" {
		how = map[traffic.Stage]string{
			traffic.Asking:  "no answer came to the request",
			traffic.Ending:  "the answer came, and the server's FIN did not",
			traffic.Closing: "the answer came, and no acknowledgement of the client's FIN",
		}[f.Stage]
	}
	return "the connection was made, and then " + how
}
