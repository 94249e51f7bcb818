package test

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/topology"
)

// twins are the kernel and the emulator of one node, given the same packets.
type twins struct {
	kernel   *kernelNode
	wireNode *kernelNode // where the gateway's NAT is held against it
	emulator *gateway.Gateway
	ports    portFeed
	serial   uint16
	backend  dataplane.Backend
	family   nat.Family
	node     topology.Namespace
	senders  map[string]string // hardware addresses that packets come from, by device
	packets  int
	sources  uint32               // given to packets that are told of their end
	before   []byte               // the packet before
	left     map[string][][]byte  // what left the kernel because of the last packet
	flooded  bool                 // the last packet met more rules than the tracer holds
	guessed  bool                 // a port of the kernel's choice that nothing tells since the last load
	whole    []byte               // the packet that the fragments are of
	pieces   [][]byte             // its fragments that are to come
	from     string               // their device
	mark     uint32               // and their mark
	tracked  bool                 // connections
	long     bool                 // rule sets get many packets
	homing   bool                 // packets of the node may go to itself, in pieces that the emulator keeps together
	next     map[nat.Tuple]uint32 // TCP: the sequence number that comes next
	loaded   time.Time
	settings []topology.Sysctl // of this round
	born     map[*conntrack.Conn]span
	facts    map[*conntrack.Conn]entryFacts // what the emulator's connections were

	connections int
	first       string // difference that chance found, which may not come again
	rounds      int
	ruled       int // rules of nf_tables' own that were drawn, and those of them that nft refused
	refused     int
	listed      int // rounds of what nft lists, and those of them whose listing nft reads as something else
	misread     int
	unknown     string         // the condition that the emulator could not decide of a packet
	unmodelled  map[string]int // packets by what the emulator tells that it does not model
}

// span is when something happened in the kernel, between two readings of the clock.
type span struct{ from, to time.Time }

// portFeed answers the emulator's question for a random port with the one that the kernel took.
type portFeed struct {
	next  uint32
	known bool // next is the kernel's
	asked bool // the emulator asked
}

// Uint32 is what the port search begins with.
func (f *portFeed) Uint32() uint32 { f.asked = true; return f.next }

func newTwins(t *testing.T, backend dataplane.Backend, family nat.Family) *twins {
	t.Helper()
	return twinsOf(t, differentialNode(family), backend, family)
}

// twinsOf are those of a node.
func twinsOf(t *testing.T, node topology.Namespace, backend dataplane.Backend, family nat.Family) *twins {
	t.Helper()
	require.Zero(t, os.Geteuid(), "network namespaces need root")
	return &twins{kernel: newKernelNode(t, node, family), node: node, backend: backend, family: family, unmodelled: map[string]int{}}
}

// load gives both sides a rule set, and forgets all connections.
func (w *twins) load(t *testing.T, rs iptables.Ruleset) {
	t.Helper()
	if w.backend == dataplane.Legacy { // a legacy table never goes away again
		rs = withAllTables(rs)
	}
	require.NoError(t, w.kernel.restore(t.Context(), w.backend, rs))
	require.NoError(t, w.kernel.fillSets())
	sets, err := ipset.Parse(setsIn(w.family))
	require.NoError(t, err)
	if err := w.kernel.set(fragments6); !errors.Is(err, os.ErrNotExist) { // it is there when a rule tracks
		require.NoError(t, err)
	}
	require.NoError(t, w.kernel.conns.Flush())
	require.NoError(t, w.kernel.ns.Do(func() error { return w.kernel.tracer.learn(rs) }))
	g, err := gateway.NewGateway(w.set(t), gateway.Rules{rs}, gateway.NodeOptions{
		Chance: &w.ports, Trace: true, Senders: w.senders, Family: w.family, Facts: gateway.Facts{Kernel: w.kernel.version, Sets: sets, IPsec: rules.No, Queues: rules.No}, Unknown: func(rule string) bool { w.unknown = rule; return false }, UID: rules.ID{Known: true}, GID: rules.ID{Known: true}, Listens: func(nat.Tuple) bool { return false },
	})
	require.NoError(t, err)
	w.emulator = g
	w.kernel.collect(t)
	_, _ = w.kernel.tracer.read()
	w.before, w.pieces, w.guessed, w.next = nil, nil, false, map[nat.Tuple]uint32{}
	w.loaded, w.born = time.Now(), map[*conntrack.Conn]span{}
	w.facts = map[*conntrack.Conn]entryFacts{}
}

// set gives the kernel the settings, and is the node that has them, with the tunnels of the kernel.
func (w *twins) set(t *testing.T) topology.Namespace {
	t.Helper()
	node := w.node
	node.Devices, node.Sysctls = slices.Clip(node.Devices), slices.Clip(node.Sysctls)
	if w.kernel.tunnels {
		node.Devices = append(node.Devices, topology.Device{Name: "tunl0", Kind: topology.TunnelIPIP})
	}
	require.NoError(t, w.kernel.set(w.settings...))
	node.Sysctls = append(node.Sysctls, w.settings...)
	return node
}

// withAllTables is a rule set with the tables that it lacks, empty.
func withAllTables(rs iptables.Ruleset) iptables.Ruleset {
	for name, chains := range map[string][]string{
		"raw": {"PREROUTING", "OUTPUT"}, "mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
		"nat": {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}, "filter": {"INPUT", "FORWARD", "OUTPUT"},
	} {
		if slices.ContainsFunc(rs.Tables, func(t iptables.Table) bool { return t.Name == name }) {
			continue
		}
		t := iptables.Table{Name: name}
		for _, chain := range chains {
			t.Chains = append(t.Chains, iptables.Chain{Name: chain, Policy: "ACCEPT"})
		}
		rs.Tables = append(rs.Tables, t)
	}
	return rs
}

// give hands one packet to both sides and compares what they make of it: what leaves, the rules met, the connections.
// dev is "" for a packet of the node itself. The difference comes back in words, "" for none.
func (w *twins) give(t *testing.T, dev string, pkt []byte, mark uint32) string {
	t.Helper()
	w.packets++
	w.flooded = false
	since := time.Now()
	if dev == "" {
		w.kernel.send(t, pkt, mark)
	} else {
		w.kernel.inject(t, dev, pkt)
	}
	kernelOut, kernelSteps := w.hear(t)
	asked, flow, known := w.flowOf(t, pkt)
	w.ports.asked, w.unknown = false, ""
	w.ports.next, w.ports.known = chosenPort(asked, kernelOut, flow, known)
	at := time.Now()
	var outs []gateway.Out
	var trace nat.Trace
	var why string
	if dev == "" {
		outs, trace, why = w.emulator.Send(slices.Clone(pkt), mark, at)
	} else {
		outs, trace, why = w.emulator.Handle(slices.Clone(pkt), dev, at)
	}
	w.await(t, kernelOut, &kernelSteps, func() bool { return heard(kernelOut) >= len(outs) && len(kernelSteps) >= w.traced(trace) })
	changed := w.changed(at)
	var entries []string
	w.await(t, kernelOut, &kernelSteps, func() bool {
		entries = w.differingEntries(t, changed, asked, pkt, at)
		return entries == nil || w.unknown != "" || w.emulator.Unmodelled() != ""
	})
	w.left = kernelOut
	if w.flooded {
		w.unmodelled["more rules than the tracer holds"]++
		return undecided
	}
	w.guessed = w.guessed || w.ports.asked && !w.ports.known // a connection that is gone again keeps the kernel's port to itself
	var diff []string
	if got, want := outLines(outs), kernelLines(kernelOut); got != want {
		diff = append(diff, "left the emulator:\n"+got, "left the kernel:\n"+want)
	}
	if got, same := w.sameSteps(trace, kernelSteps, dev == "" && forMany(pkt, w.kernel.version)); !same {
		diff = append(diff, "rules met in the emulator:\n"+got, "rules met in the kernel:\n"+strings.Join(kernelSteps, "\n"))
	}
	diff = append(diff, entries...)
	turns := w.turns(span{since, at})
	if what := w.emulator.Unmodelled(); what != "" {
		w.unmodelled[what]++
		return undecided
	}
	if diff == nil {
		return ""
	}
	if w.unknown != "" {
		w.unmodelled[w.unknown]++
		return undecided
	}
	const rounds = 300 // rules that a packet meets which goes round in the node until its TTL ends it, longer than the kernel works at once
	if turns || w.overdue() || len(trace) > rounds || w.guessed {
		return undecided
	}
	return fmt.Sprintf("packet %s by %q, emulator: %s\n%s", described(pkt), dev, why, strings.Join(diff, "\n"))
}

// hear is what has left the kernel, and the rules that it met, since the last call.
func (w *twins) hear(t *testing.T) (out map[string][][]byte, steps []string) {
	t.Helper()
	out = w.kernel.collect(t)
	steps, err := w.kernel.tracer.read()
	if errors.Is(err, unix.ENOBUFS) {
		w.flooded = true
		return out, steps
	}
	require.NoError(t, err)
	return out, steps
}

// differingEntries are the connections that the emulator changed, and the packet's, where the kernel's entries say something else.
func (w *twins) differingEntries(t *testing.T, changed []*conntrack.Conn, asked nat.Tuple, pkt []byte, at time.Time) (diff []string) {
	t.Helper()
	for _, c := range changed {
		got, want := "", ""
		if !c.Has(nat.Dying) {
			got = emulatedEntry(c, at)
		}
		kind, code := c.ICMP()
		if f, ok := w.kernel.entry(t, c.Original, kind, code); ok {
			want = f.String()
		}
		if got != want {
			diff = append(diff, "connection in the emulator:\n"+got, "connection in the kernel:\n"+want)
		}
	}
	_, flow, known := w.flowOf(t, pkt)
	switch c, emulated := w.emulated(asked, pkt); {
	case known && !emulated:
		diff = append(diff, "no connection in the emulator for the kernel's:\n"+flow.String())
	case known && !c.Has(nat.NATClash) && diff == nil:
		if got, want := emulatedEntry(c, at), flow.String(); got != want {
			diff = append(diff, "the packet's connection in the emulator:\n"+got, "in the kernel:\n"+want)
		}
	}
	return diff
}

// await waits until all is there of what is still to come from the kernel, which may leave what lo brings back to a thread of its own (ksoftirqd) where the
// machine is busy; for a second, since it may never come.
func (w *twins) await(t *testing.T, kernelOut map[string][][]byte, steps *[]string, all func() bool) {
	t.Helper()
	const tries, pause = 50, 20 * time.Millisecond
	for range tries {
		if all() {
			return
		}
		time.Sleep(pause)
		more, met := w.hear(t)
		*steps = append(*steps, met...)
		for dev, list := range more {
			kernelOut[dev] = append(kernelOut[dev], list...)
		}
	}
}

// heard is how many packets have left the kernel.
func heard(out map[string][][]byte) (n int) {
	for _, list := range out {
		n += len(list)
	}
	return n
}

// traced is how many rules of a way the kernel tells of.
func (w *twins) traced(way nat.Trace) (n int) {
	for _, s := range way {
		if w.backend == dataplane.NFT || s.Why != iptables.WhyHotdrop {
			n++
		}
	}
	return n
}

// forMany reports whether a packet is one that the node hears itself, when the kernel comes to it: what is sent to all of a link, too, which kernels
// took a network's lowest address for.
func forMany(pkt []byte, k nat.Kernel) bool {
	p, err := packet.Parse(pkt)
	dst := p.Tuple().Dst().Addr()
	return err == nil && (dst.IsMulticast() || strings.HasSuffix(dst.String(), ".255") || strings.HasSuffix(dst.String(), ".0") && !k.Has(nat.LowestIsUnicast))
}

// undecided is what give says of a difference that may be one of the clocks, or of a port that cannot be known.
const undecided = "undecided"

// turns notes when connections began, and reports whether one is just becoming a stream: the two sides cannot be held
// against each other then.
func (w *twins) turns(now span) (yes bool) {
	const stream, jiffies = 2 * time.Second, 500 * time.Millisecond // a VM that stood still wakes up with old jiffies
	for _, c := range w.emulator.Conns().Conns() {
		b, ok := w.born[c]
		if !ok {
			w.born[c] = now
			continue
		}
		if c.Original.Proto() == nat.UDP && now.to.After(b.from.Add(stream-jiffies)) && now.from.Before(b.to.Add(stream+jiffies)) {
			yes = true
		}
	}
	return yes
}

// described is a packet in words, with what window tracking looks at.
func described(pkt []byte) string {
	p, err := packet.Parse(pkt)
	if err != nil {
		return fmt.Sprintf("%x: %v", pkt, err)
	}
	if s, ok := p.TCP(); ok {
		return fmt.Sprintf("%s seq %d ack %d win %d len %d options %x", p.String(), s.Seq, s.Ack, s.Window, s.Length, s.Options)
	}
	return fmt.Sprintf("%s, %d bytes %x", p.String(), p.Len(), p.Transport())
}

// flowOf is the kernel's connection of a packet.
func (w *twins) flowOf(t *testing.T, pkt []byte) (asked nat.Tuple, f kernelConn, ok bool) {
	t.Helper()
	p, err := w.parse(pkt)
	if err != nil {
		return asked, f, false
	}
	kind, code, _ := p.ICMP()
	f, ok = w.kernel.entry(t, p.Tuple(), kind, code)
	return p.Tuple(), f, ok
}

// parse is a packet, or that of which it is a fragment.
func (w *twins) parse(pkt []byte) (packet.Packet, error) {
	p, err := packet.Parse(pkt)
	if err == nil && p.Fragment() {
		return packet.Parse(w.whole)
	}
	return p, err
}

// emulated is the emulator's connection of a packet.
func (w *twins) emulated(asked nat.Tuple, pkt []byte) (c *conntrack.Conn, ok bool) {
	p, err := w.parse(pkt)
	if err != nil {
		return nil, false
	}
	kind, code, _ := p.ICMP()
	c, _ = w.emulator.Conns().Lookup(asked, kind, code)
	return c, c != nil
}

// changed lists the emulator's connections that are not what they were before, and those that are gone.
func (w *twins) changed(at time.Time) (list []*conntrack.Conn) {
	facts := make(map[*conntrack.Conn]entryFacts, len(w.facts))
	for _, c := range w.emulator.Conns().Conns() {
		if c.Has(nat.NATClash) {
			continue
		}
		facts[c] = factsOf(c, at)
		if was, known := w.facts[c]; !known || was != facts[c] {
			list = append(list, c)
		}
	}
	for c := range w.facts {
		if _, still := facts[c]; !still && c.Has(nat.Dying) {
			if again, _ := w.emulator.Conns().Lookup(c.Original, 0, 0); again == nil {
				list = append(list, c)
			}
		}
	}
	w.facts = facts
	return list
}

// chosenPort is what a random port search must have begun with for the kernel to choose what it chose, as its entry tells, or else the one packet that
// left. Searches begin at the lowest port of a range; the ranges of the test's rules are 1000 ports long and begin at 24 above a thousand.
func chosenPort(asked nat.Tuple, out map[string][][]byte, f kernelConn, known bool) (port uint32, ok bool) {
	if known && f.original == asked {
		return searchBegin(asked, f.reply.Dst().Port()), true
	}
	for _, list := range out {
		for _, b := range list {
			if p, err := packet.Parse(b); err == nil && p.Tuple().Proto() == asked.Proto() && !p.Later() {
				if ok { // a copy from before the translation may be among them, or an answer
					return 0, false
				}
				port, ok = searchBegin(asked, p.Tuple().Src().Port()), true
			}
		}
	}
	return port, ok
}

func searchBegin(asked nat.Tuple, now uint16) uint32 {
	was := asked.Src().Port()
	switch {
	case asked.Proto() == nat.ICMP || asked.Proto() == nat.ICMPv6:
		return uint32(now)
	case was < 512 && now < 512:
		return uint32(now - 1)
	case was < 1024 && now >= 600 && now < 1024:
		return uint32(now - 600)
	}
	return uint32(now) - 1024
}

// outLines and kernelLines are packets in words and bytes, device by device.
func outLines(outs []gateway.Out) string {
	byDev := map[string][][]byte{}
	for _, o := range outs {
		byDev[o.Dev] = append(byDev[o.Dev], o.Packet)
	}
	return kernelLines(byDev)
}

func kernelLines(out map[string][][]byte) string {
	var lines []string
	for dev, list := range out {
		for _, b := range list {
			lines = append(lines, dev+" "+plain(b))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// plain is a packet without what the kernel chooses at will: the identification of packets of its own, which the test's
// packets tell by having the highest bit set, and with it the header's checksum, which has to be right.
func plain(b []byte) string {
	b = slices.Clone(b)
	p, err := packet.Parse(b)
	if err != nil {
		return fmt.Sprintf("%x", b)
	}
	if p.V6() {
		return plain6(b, &p)
	}
	note := ""
	if !p.HeaderOK() {
		note = " WRONG HEADER CHECKSUM"
	}
	if b[4]&0x80 == 0 || b[4] == 0 && b[5] == 0 {
		b[4], b[5] = 0, 0
	}
	if kind, _, ok := p.ICMP(); ok && kind == 14 && len(b) >= 40 { // a timestamp reply
		clear(b[22:24])
		clear(b[32:40])
	}
	if inside, ok := p.Inside(); ok && inside.Tuple().Proto() == nat.TCP && inside.Bytes()[4] == 0 && inside.Len() >= 40 {
		clear(b[22:24]) // it quotes a segment of the node's own, whose checksum the device would have filled in
		clear(b[28+36 : 28+38])
	}
	own := b[4] == 0 && b[5] == 0
	if own || p.Tuple().Proto() == nat.ICMP {
		b[4], b[5], b[10], b[11] = 0, 0, 0, 0
	}
	return fmt.Sprintf("%s%s %x", p.String(), note, b)
}

// plain6 is plain for IPv6, which has no identification.
func plain6(b []byte, p *packet.Packet) string {
	if inside, ok := p.Inside(); ok && inside.Tuple().Proto() == nat.TCP && inside.TCPFlags()&4 != 0 && inside.Len() >= 60 {
		clear(b[42:44]) // it quotes an RST, which may be the node's own
		clear(b[48+56 : 48+58])
	}
	return fmt.Sprintf("%s %x", p.String(), b)
}

// The first of all: a Service as kube-proxy writes it, its reply, a REJECT, a drop.
func TestDifferentialByHand(t *testing.T) {
	t.Parallel()
	onBothBackends(t, func(t *testing.T, w *twins) { t.Helper(); w.byHand(t) })
}

// onAllTwins runs a test on both backends of both families.
func onAllTwins(t *testing.T, test func(t *testing.T, w *twins)) {
	t.Helper()
	onBothBackends(t, test)
	for _, backend := range []dataplane.Backend{dataplane.Legacy, dataplane.NFT} {
		t.Run("ip6"+strings.TrimPrefix(string(backend), "ip"), func(t *testing.T) {
			t.Parallel()
			test(t, newTwins(t, backend, nat.IPv6))
		})
	}
}

func onBothBackends(t *testing.T, test func(t *testing.T, w *twins)) {
	t.Helper()
	for _, backend := range []dataplane.Backend{dataplane.Legacy, dataplane.NFT} {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			test(t, newTwins(t, backend, nat.IPv4))
		})
	}
}

func (w *twins) byHand(t *testing.T) {
	t.Helper()
	rs, err := iptables.Parse(strings.NewReader(handRules), nat.IPv4)
	require.NoError(t, err)
	w.load(t, rs)
	syn := packet.Fields{ID: 0x8001, DF: true, TCP: packet.TCP{Flags: 2, Seq: 1000, Window: 64240, Options: []byte{2, 4, 5, 180, 3, 3, 7, 0}}}
	for _, row := range []struct{ dev, tuple string }{
		{"in0", "tcp 192.168.1.10:40000 > 192.168.1.1:30080"},
		{"in0", "tcp 192.168.1.10:40001 > 10.96.0.1:80"},
		{"pod0", "tcp 10.244.0.5:40001 > 10.96.0.1:80"},
		{"in0", "tcp 192.168.1.10:40002 > 10.96.0.2:80"},
		{"in0", "tcp 192.168.1.10:40003 > 10.0.0.20:80"},
		{"in0", "tcp 192.168.1.10:40003 > 192.168.1.1:80"},
		{"", "tcp 192.168.1.1:40004 > 10.96.0.1:80"},
		{"", "tcp 127.0.0.1:40004 > 192.168.1.1:80"},
	} {
		tuple, err := nat.ParseTuple(row.tuple)
		require.NoError(t, err)
		require.Empty(t, w.give(t, row.dev, packet.Build(tuple, syn).Bytes(), 0))
	}
}

// What is generated is the same every time, so that a test which turns red does so by a change; with NATLAB_DIFF it is
// chance's, unless NATLAB_SEED is given.
func TestMain(m *testing.M) {
	drawn := map[string]string{}
	if seed := os.Getenv("NATLAB_SEED"); seed != "" {
		drawn["rapid.seed"] = seed
	} else if os.Getenv("NATLAB_DIFF") == "" {
		drawn["rapid.seed"], drawn["rapid.checks"] = "1", "250" // which have packets enough
	}
	// A test that computes and a lab whose processes are this one's goroutines share the processors by the kernel's slices, not by Go's,
	// which are longer: a tap that waits for one behind another makes TCP send again.
	runtime.GOMAXPROCS(max(8, runtime.GOMAXPROCS(0)))
	flag.Parse()
	// Many a test waits for its kernel half of its time: where nobody asks for a number, more run beside one another than there are processors.
	const beside = "test.parallel"
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == beside })
	if !asked {
		drawn[beside] = strconv.Itoa(2 * runtime.NumCPU())
	}
	for name, value := range drawn {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
}

// TestDifferential gives both sides generated rule sets and packets, of both families and on each backend. NATLAB_DIFF is how many packets;
// a difference is shrunk to a small rule set with few packets.
func TestDifferential(t *testing.T) {
	t.Parallel()
	packets := 20000
	if s := os.Getenv("NATLAB_DIFF"); s != "" {
		var err error
		packets, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	onAllTwins(t, func(t *testing.T, w *twins) { t.Helper(); w.generated(t, packets/4) })
}

func (w *twins) generated(t *testing.T, packets int) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the first difference: %s", w.first)
		}
	})
	for w.packets < packets && !t.Failed() {
		rapid.Check(t, func(rt *rapid.T) { w.round(t, drawn{rt, w.family, w.kernel.version}) })
	}
	t.Logf("%d packets, %d connections: no difference; not modelled: %v", w.packets, w.connections, w.unmodelled)
}

// perRound is how many packets one rule set gets at most, and maxRound how long it is used: before the shortest timeout
// of a connection.
const (
	perRound = 300
	maxRound = 8 * time.Second
)

// overdue reports whether the machine stood still for so long that connections may have expired on one side only.
func (w *twins) overdue() bool { return time.Since(w.loaded) > maxRound+time.Second }

func (w *twins) round(t *testing.T, d drawn) {
	t.Helper()
	w.rounds++
	text := strings.ReplaceAll(textIn(w.family, d.ruleset()), fresh, strconv.Itoa(w.rounds))
	rs, err := iptables.ParseString(text, w.family)
	if err != nil {
		d.t.Fatalf("%v\n%s", err, text)
	}
	w.settings, w.tracked = d.settings(), tracking.MatchString(text)
	w.homing = strings.Contains(text, "-j DNAT") || strings.Contains(text, "-j REDIRECT")
	w.load(t, rs)
	var way []string
	for left := 1 + d.n(perRound); left > 0 || len(w.pieces) > 0; left-- {
		if time.Since(w.loaded) > maxRound && len(w.pieces) == 0 {
			break
		}
		dev, pkt, mark := w.draw(d)
		way = append(way, fmt.Sprintf("%q %s", dev, described(pkt)))
		diff := w.give(t, dev, pkt, mark)
		if diff == undecided {
			return
		}
		if diff != "" {
			w.differs(d, "%s\nafter\n%s\nwith %v\n%s", diff, strings.Join(way, "\n"), unusual(w.settings), text)
		}
	}
	if got, want := w.ends(t); got != want && !w.overdue() {
		w.differs(d, "connections in the emulator:\n%s\nconnections in the kernel:\n%s\nafter\n%s\nwith\n%s", got, want, strings.Join(way, "\n"), text)
	}
	if got, want := w.setEnds(t); got != want && !w.overdue() && !w.guessed {
		w.differs(d, "sets in the emulator:\n%s\nsets in the kernel:\n%s\nafter\n%s\nwith\n%s", got, want, strings.Join(way, "\n"), text)
	}
	w.connections += w.emulator.Conns().Len()
}

// differs ends a round by a difference.
func (w *twins) differs(d drawn, format string, args ...any) {
	d.t.Helper()
	text := fmt.Sprintf(format, args...)
	if w.first == "" {
		w.first = text
	}
	d.t.Fatal(text)
}

// ends are all connections of both sides.
func (w *twins) ends(t *testing.T) (emulator, kernel string) {
	t.Helper()
	kernel = strings.Join(w.kernel.entries(t), "\n")
	return strings.Join(emulatedEntries(w.emulator, time.Now()), "\n"), kernel
}

// draw draws the next packet: a fresh one, one of a connection that is there, an ICMP error about it, an old one again,
// or a broken one.
func (w *twins) draw(d drawn) (dev string, pkt []byte, mark uint32) {
	w.serial++
	conns := w.emulator.Conns().Conns()
	if len(w.pieces) > 0 {
		pkt, w.pieces = w.pieces[0], w.pieces[1:]
		return w.from, pkt, w.mark
	}
	kind := d.n(20)
	switch {
	case kind < 10 && len(conns) > 0:
		pkt = w.onward(d, conns[d.n(len(conns))])
	case kind == 10 && len(conns) > 0:
		pkt = w.complaint(d, conns[d.n(len(conns))])
	case kind == 11 && w.before != nil:
		pkt = w.before
	default:
		t := w.ownSource(d.tuple())
		pkt = packet.Build(t, d.fields(t.Proto(), w.serial)).Bytes()
	}
	p, _ := packet.Parse(pkt)
	if dev = deviceOf(p.Tuple().Src().Addr()); d.chance(12) { // by any other device
		dev = pick(d, drawnDevices)
	}
	if dev == "" && w.family == nat.IPv6 && !p.IsValid() { // a raw socket of IPv6 sends even what is cut short
		dev = "in0"
	}
	for dev == "" && w.family == nat.IPv6 && p.Len() > 1280 { // the kernel would learn from the errors that it sends itself
		p = *packet.Build(p.Tuple(), d.fields(p.Tuple().Proto(), w.serial))
		pkt = p.Bytes()
	}
	if p.IsValid() && d.chance(8) {
		pkt = d.odd(&p)
	}
	if p.IsValid() && d.chance(15) {
		plain := slices.Clone(pkt)
		if pkt = d.withHeaders(&p, w.backend); w.long && !modelled(pkt) && !d.chance(5) || !w.decides(pkt) {
			pkt = plain
		}
	}
	switch {
	case kind == 12 && dev != "":
		pkt = broken(d, pkt)
	case kind >= 13 && kind <= 15 && w.cuts(dev, &p):
		w.whole, w.from = slices.Clone(pkt), dev
		w.pieces = d.fragments(&p, w.tracked)
		pkt, w.pieces = w.pieces[0], w.pieces[1:]
	}
	if dev == "" && d.chance(4) {
		mark = 0x4000
	}
	if w.mark = mark; len(w.pieces) == 0 {
		w.before = slices.Clone(pkt)
	}
	return dev, pkt, mark
}

// decides reports whether the rules alone decide of a fragment of IPv6: before 5.13 a namespace whose conntrack was ever in use puts it together (nf_defrag_ipv6_enable).
func (w *twins) decides(pkt []byte) bool {
	const fragment = 44
	p, err := packet.Parse(pkt)
	if err != nil || w.family == nat.IPv4 || w.tracked || !w.kernel.version.Before(5, 13) {
		return true
	}
	_, is := p.Header(fragment)
	return !is
}

// cuts reports whether a packet may be given in fragments. Where they are not put together, nf_tables looks for flags in
// later ones too, and x_tables does not; before Linux 5.13 they go on being put together once any rules wanted it.
func (w *twins) cuts(dev string, p *packet.Packet) bool {
	alike := w.tracked || w.backend == dataplane.Legacy && !w.kernel.version.Before(5, 13)
	leaves := dev != "" || !w.homing && deviceOf(p.Tuple().Dst().Addr()) != ""
	return alike && leaves && w.family == nat.IPv4 && p.Len() > 28
}

// onward is another packet of a connection, in either direction; a TCP segment mostly fits what was seen before.
func (w *twins) onward(d drawn, c *conntrack.Conn) []byte {
	dir := nat.Direction(d.n(2))
	t := c.Tuple(dir)
	f := d.fields(t.Proto(), w.serial)
	if kind, code := c.ICMP(); t.Proto() == nat.ICMP || t.Proto() == nat.ICMPv6 {
		f.Type, f.Code = kind, code
		if dir == nat.Reply {
			f.Type = map[uint8]uint8{8: 0, 13: 14, 128: 129}[kind]
		}
	}
	if t.Proto() == nat.SCTP {
		f.Rest, f.Payload = d.chunks(dir)
	}
	if t.Proto() != nat.TCP {
		return packet.Build(t, f).Bytes()
	}
	f.TCP.Flags = pick(d, []uint8{16, 16, 18, 18, 17, 4, 20, 2, 24, 24, 16})
	if dir == nat.Original && c.TCPState() == conntrack.TCPSynSent {
		f.TCP.Flags = pick(d, []uint8{2, 2, 16, 4})
	}
	shift := pick(d, []uint32{0, 0, 0, 0, 0, 1, ^uint32(0), 70000, ^uint32(70000), 2000})
	f.TCP.Seq, f.TCP.Ack = w.next[t]+shift, w.next[c.Tuple(1-dir)]
	if d.chance(10) {
		f.TCP.Ack += shift
	}
	if w.next[t] == 0 {
		f.TCP.Seq = 5000
	}
	p := packet.Build(t, f)
	s, _ := p.TCP()
	if shift == 0 {
		w.next[t] = s.Seq + uint32(s.Length) + uint32(s.Flags&1) + uint32(s.Flags>>1&1)
	}
	return p.Bytes()
}

// complaint is an ICMP error about a connection's packet, as one would come from either side.
func (w *twins) complaint(d drawn, c *conntrack.Conn) []byte {
	dir := nat.Direction(d.n(2))
	t := c.Tuple(dir)
	query, short := uint8(8), 28
	if w.family == nat.IPv6 {
		query, short = 128, 48
	}
	about := packet.Build(t.Reply(), packet.Fields{ID: 0x8001, Type: query, TCP: packet.TCP{Flags: 2, Seq: 1000}}).Bytes()
	if d.chance(3) {
		about = about[:min(len(about), short)]
	}
	from, to := t.Src().Addr(), t.Dst().Addr()
	if d.chance(6) {
		to = addressIn(w.family, pick(d, destPool))
	}
	if w.family == nat.IPv6 {
		return packet.Build(nat.TupleOf(nat.ICMPv6, netip.AddrPortFrom(from, 0), netip.AddrPortFrom(to, 0)), packet.Fields{
			Type: pick(d, []uint8{1, 1, 3, 4}), Code: pick(d, []uint8{0, 1, 3}), Payload: about,
		}).Bytes()
	}
	return packet.Build(nat.TupleOf(nat.ICMP, netip.AddrPortFrom(from, 0), netip.AddrPortFrom(to, 0)), packet.Fields{
		ID: w.serial | 0x8000, Type: pick(d, []uint8{3, 3, 11, 12}), Code: pick(d, []uint8{0, 1, 3}), Payload: about,
	}).Bytes()
}

// broken is a packet with something wrong.
func broken(d drawn, pkt []byte) []byte {
	pkt = slices.Clone(pkt)
	switch d.n(3) {
	case 0:
		pkt[len(pkt)-1] ^= 1 // the transport checksum is wrong
	case 1:
		if d.family == nat.IPv4 {
			pkt[10] ^= 1 // the header's
		}
	case 2:
		pkt = pkt[:len(pkt)-1] // shorter than it says
	}
	return pkt
}

const handRules = `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC
-A KUBE-SERVICES -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j KUBE-SVC
-A KUBE-SVC ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-SVC -p tcp -m tcp -j DNAT --to-destination 10.244.0.5:8080
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
`
