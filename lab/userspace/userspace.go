package userspace

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/lab/realise"
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
)

// QueueNumber is the first queue of the namespace that whole packets come by.
const QueueNumber = 28257

// ErrBusy is a namespace that has a gateway already: a queue has one reader.
var ErrBusy = errors.New("another process translates in this namespace: let it end first")

// Options are what a namespace is to obey.
type Options struct {
	// Rules are the rule sets of each family that is translated; what a family without any sends is left alone.
	Rules map[nat.Family]gateway.Rules
	Facts gateway.Facts
	Node  string // the name that observations bear
	// Apply is how verdicts are carried out; ByMark where it can be.
	Apply Apply
	// Chance is where NAT begins to look for a port; nil is the system's. It is asked by the Gateway alone.
	Chance conntrack.Chance
	// Queues are how many share the packets, each with a goroutine of its own; 0 is one. All between two addresses come by one of them, so that the
	// order within a flow stays. Their packets are handed over and go on side by side; what becomes of them is decided one by one.
	Queues int
	// FailOpen lets packets pass untranslated where the gateway is slow, stopped or dead; else they are dropped.
	FailOpen bool
	// State is a file that keeps the connections: they are read from it, and written to it every second and at the end. The tables stay then as after a kill,
	// so that no packet passes untranslated until the next Gateway takes over. "": connections and tables end with the Gateway.
	State string
	// Offload has packets of established flows that nobody needs to see pass in the kernel.
	Offload bool
	// Fault is what the gateway does wrong.
	Fault Fault
	// Note is told once of each rule that the gateway cannot decide, which counts as one that does not match, and of each that it cannot carry out, whose
	// packets are dropped. It may be nil, and must not call the Gateway.
	Note func(what string)
}

// Stats count what a gateway did with packets, each at each hook.
type Stats struct {
	Packets   uint64 // that were handed over
	Rewritten uint64 // of these, that went on as others
	Dropped   uint64 // by rules, NAT or conntrack
	Malformed uint64 // dropped, for no IP stack would take them
	Cut       uint64 // dropped, for they are longer than a queue hands over whole
	Answers   uint64 // packets of the gateway's own: a REJECT rule's
	Unsent    uint64 // of these, that the kernel did not send
	Refused   uint64 // verdicts that the kernel did not take
	Marked    uint64 // of the rewritten, those by a mark
	Unwritten uint64 // batches of marks that the kernel did not take: their packets are dropped; and of offloaded flows
	Offloaded uint64 // directions of flows whose packets were to pass in the kernel from then on
	Passed    uint64 // such packets, as far as they were read back; they are none of the others
}

// String is what was counted, in words: "packets 12, rewritten 4, dropped 0"; what never happened is left out but for these.
func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "packets %d, rewritten %d, dropped %d", s.Packets, s.Rewritten, s.Dropped)
	for _, more := range []struct {
		name string
		n    uint64
	}{{"malformed", s.Malformed}, {"too long", s.Cut}, {"answers", s.Answers}, {"unsent answers", s.Unsent}, {"refused verdicts", s.Refused}, {"rewritten by mark", s.Marked}, {"unwritten marks", s.Unwritten}, {"offloaded directions", s.Offloaded}, {"their packets", s.Passed}} {
		if more.n > 0 {
			fmt.Fprintf(&b, ", %s %d", more.name, more.n)
		}
	}
	return b.String()
}

// Gateway is a namespace's rules at work. Its methods may be called by many goroutines.
type Gateway struct {
	ns       netns.Handle
	options  Options
	queues   []*queue
	sender   *sender
	watch    *watch
	notes    []string
	tables   bool // they were made
	workers  sync.WaitGroup
	closing  atomic.Bool
	finished chan struct{}
	stopping chan struct{} // ends keep
	restored int
	saving   sync.Mutex   // one Save at a time; taken before mu
	landing  sync.RWMutex // held while verdicts by marks go to the kernel; taken behind mu

	mu       sync.Mutex // guards what follows
	families [2]*gateway.Gateway
	rules    [2]gateway.Rules
	surveyed realise.Surveyed
	stats    Stats
	failed   error // of the reader
	unknown  map[string]bool
	watchers []*Watcher
	events   []*Events
	entries  map[*conntrack.Conn]entry // what watchers were told of
	number   uint32                    // of the last connection that got one
	byMark   [2]bool                   // verdicts of a family are carried out so
	marks    *marks                    // nil where that is not asked for
	pending  map[uint32]pending        // by token, which is their mark until then
	token    uint32
	room     []byte   // a packet of which the begin is known
	offload  *offload // nil where that is not asked for
}

// Open begins to translate: what comes to the namespace's hooks from now on obeys the rules. A table that a gateway left there which was killed
// is replaced. After an error the namespace is as it was. The Handle has to stay open as long as the Gateway.
func Open(ns netns.Handle, o Options) (*Gateway, error) {
	g := &Gateway{ns: ns, options: o, finished: make(chan struct{}), stopping: make(chan struct{}), unknown: map[string]bool{}, pending: map[uint32]pending{}}
	err := g.open()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("gateway of network namespace %q: %w", ns.Name(), err), g.Close())
	}
	return g, nil
}

func (g *Gateway) open() (err error) {
	if g.options.Queues < 0 || g.options.Queues > MostQueues {
		return fmt.Errorf("%d queues: want 1 to %d", g.options.Queues, MostQueues)
	}
	if g.watch, err = openWatch(g.ns); err != nil { // before the survey, so that no change is missed
		return err
	}
	if g.surveyed, err = realise.Survey(g.ns, sysctls()); err != nil {
		return err
	}
	if g.options.Offload && (g.options.Fault != NoFault || g.options.Facts.NAT.Other()) {
		return ErrOffload
	}
	if g.options.Fault == PortTwice {
		g.options.Facts.NAT = twice
	}
	for family, rules := range g.options.Rules {
		o := gateway.NodeOptions{Chance: g.options.chance(), Family: family, Facts: g.options.Facts, Unknown: g.undecided}
		g.rules[family] = rules
		if g.families[family], err = gateway.NewGateway(g.surveyed.Namespace, rules, o); err != nil {
			return err
		}
	}
	g.weigh()
	if err := g.restore(); err != nil {
		return err
	}
	return g.ns.Do(g.begin)
}

// begin opens what is in the namespace of this thread.
func (g *Gateway) begin() (err error) {
	if err := g.openQueues(); err != nil {
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EPERM) && unix.Geteuid() == 0 {
			err = fmt.Errorf("%w (%w)", ErrBusy, err)
		}
		return err
	}
	if g.sender, err = openSender(); err != nil {
		return err
	}
	if g.options.Apply == ByMark {
		g.room = make([]byte, 1<<16)
		if g.marks, err = openMarks(g.queues); err != nil {
			return err
		}
	}
	if g.options.Offload {
		if g.offload, err = openOffload(); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, q := range g.queues { // packets come as soon as there is a table
		g.workers.Go(func() { g.serve(q) })
	}
	g.workers.Go(g.follow)
	if g.options.State != "" {
		g.workers.Go(g.keep)
	}
	if g.offload != nil {
		g.workers.Go(g.tally)
	}
	g.tables = true
	g.notes, err = g.makeTables()
	return err
}

// makeTables replaces the gateway's tables in the namespace of this thread. The Gateway is locked.
func (g *Gateway) makeTables() ([]string, error) {
	g.landing.Lock() // marks on their way stand for what they stood for
	defer g.landing.Unlock()
	d := &design{
		queues: g.options.queues(), feeds: g.feeds(), failOpen: g.options.FailOpen, byMark: g.options.Apply == ByMark, sets: map[kind]*nftables.Set{}, joins: g.joins(),
		offload: g.offload != nil, came: map[lane]*nftables.Set{}, routed: map[lane]*nftables.Set{},
	}
	notes, err := makeTables(d)
	if err == nil && g.marks != nil {
		g.marks.reset(d.sets)
	}
	if err == nil && g.offload != nil {
		g.offload.came, g.offload.routed = d.came, d.routed
	}
	return notes, err
}

// sysctls are the settings that the gateways of both families read.
func sysctls() []string {
	return slices.Concat(gateway.Sysctls(nat.IPv4), gateway.Sysctls(nat.IPv6), []string{"net/netfilter/nf_conntrack_*"})
}

// feeds are the hooks of each family at which packets have to be handed over.
func (g *Gateway) feeds() map[nat.Family][]nat.Hook {
	out := map[nat.Family][]nat.Hook{}
	for family, one := range g.families {
		if one == nil {
			continue
		}
		for _, hook := range nat.Hooks() {
			if one.Calls(hook) {
				out[nat.Family(family)] = append(out[nat.Family(family)], hook)
			}
		}
	}
	return out
}

// joins tells of which families fragments have to be put together in front of the hooks.
func (g *Gateway) joins() (out [2]bool) {
	for family, one := range g.families {
		out[family] = one != nil && one.Tracks()
	}
	return out
}

// Feeds names the hooks of a family at which packets are handed over.
func (g *Gateway) Feeds(f nat.Family) []nat.Hook {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.feeds()[f]
}

// Notes tell what of the namespace the gateway does not take into account, a line each.
func (g *Gateway) Notes() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Concat(g.notes, g.surveyed.Other)
}

// Stats are what was counted up to now.
func (g *Gateway) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	for _, q := range g.queues {
		s.Refused += q.Refused()
	}
	return s
}

// Conns calls each with the connections of a family that have not expired, in the order in which they were confirmed, and the time. It must not
// keep them.
func (g *Gateway) Conns(f nat.Family, each func(c *conntrack.Conn, now time.Time)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.readBack()
	now := time.Now()
	for _, c := range g.conns(f) {
		each(c, now)
	}
}

// conns are the connections of a family. The Gateway is locked.
func (g *Gateway) conns(f nat.Family) []*conntrack.Conn {
	one := g.families[f]
	if one == nil {
		return nil
	}
	one.Conns().Advance(time.Now())
	return one.Conns().Conns()
}

// Rules are those that a family obeys now; nil for one that is left alone. They are not to be changed.
func (g *Gateway) Rules(f nat.Family) gateway.Rules {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rules[f]
}

// SetRules makes the rules of a family others; its connections stay. It has to be a family that had rules from the beginning.
func (g *Gateway) SetRules(f nat.Family, rules gateway.Rules) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.families[f] == nil {
		return fmt.Errorf("gateway of network namespace %q: it was opened without rules of %s", g.ns.Name(), f)
	}
	g.unloadAll(nil)
	before, joined := g.feeds(), g.joins()
	if err := g.families[f].Become(g.surveyed.Namespace, rules); err != nil {
		return err
	}
	g.rules[f] = rules
	g.weigh()
	if maps.EqualFunc(before, g.feeds(), slices.Equal) && joined == g.joins() { // making the tables anew drops what waits in the queue
		return nil
	}
	return g.ns.Do(func() error {
		_, err := g.makeTables()
		return err
	})
}

// Done is closed when the gateway has ended, by Close or by an error, which Close returns.
func (g *Gateway) Done() <-chan struct{} { return g.finished }

// Close ends the translation, and takes away what Open made. A second Close does nothing.
func (g *Gateway) Close() error {
	if g.closing.Swap(true) {
		<-g.finished
		return nil
	}
	var errs []error
	close(g.stopping)
	if g.tables && g.options.State == "" {
		errs = append(errs, g.ns.Do(removeTables))
	}
	for _, q := range g.queues {
		errs = append(errs, q.Close())
	}
	if g.watch != nil {
		errs = append(errs, g.watch.close())
	}
	g.workers.Wait()
	if g.tables && g.options.State != "" {
		errs = append(errs, g.save(wholeLine))
	}
	if g.sender != nil {
		errs = append(errs, g.sender.close())
	}
	if g.marks != nil {
		errs = append(errs, g.marks.close())
	}
	if g.offload != nil {
		errs = append(errs, g.offload.close())
	}
	select {
	case <-g.finished:
	default:
		close(g.finished)
	}
	return errors.Join(append(errs, g.failed)...)
}

// undecided notes a rule that the gateway cannot decide. The Gateway is locked.
func (g *Gateway) undecided(rule string) bool {
	g.noteOnce("not decided, and taken for one that does not match: " + rule)
	return false
}

// noteOnce tells Note what it was not told yet. The Gateway is locked.
func (g *Gateway) noteOnce(what string) {
	if !g.unknown[what] && len(g.unknown) < mostUnknown && g.options.Note != nil {
		g.unknown[what] = true
		g.options.Note(what)
	}
}

// mostUnknown is of how many rules Note is told.
const mostUnknown = 1000

func (o *Options) chance() conntrack.Chance {
	if o.Chance != nil {
		return o.Chance
	}
	return chance{}
}

// chance is the system's.
type chance struct{}

func (chance) Uint32() uint32 { return rand.Uint32() }
