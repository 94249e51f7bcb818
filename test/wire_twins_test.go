package test

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"natlab/lab/dataplane"
	"natlab/lab/userspace"
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// wire is a namespace like the kernel's of twins, whose NAT is the gateway's.
type wire struct {
	node    *kernelNode
	gateway *userspace.Gateway
	ports   wirePorts
}

// wirePorts answers the gateway's question for a port with the one that the kernel took.
type wirePorts struct{ next atomic.Uint32 }

func (p *wirePorts) Uint32() uint32 { return p.next.Load() }

// wireRules are as kube-proxy's, with what moves ports besides.
var wireRules = map[nat.Family]string{nat.IPv4: wireRules4, nat.IPv6: inIPv6(wireRules4)}

var wireRules4 = strings.Replace(handRules, "-A KUBE-POSTROUTING -m mark ! ", `-A KUBE-SERVICES -d 10.96.0.1/32 -p udp -m udp -j DNAT --to-destination 10.244.0.5:53
-A KUBE-POSTROUTING -s 192.168.1.0/24 -d 10.244.0.0/16 -p udp -j MASQUERADE --to-ports 24000-24999
-A KUBE-POSTROUTING -m mark ! `, 1)

// inIPv6 are rules with the twins' addresses of IPv6: 10.96.0.1 is fd00::a60:1.
func inIPv6(text string) string {
	mapped := func(a string) string {
		b := netip.MustParseAddr(a).As4()
		return netip.AddrFrom16([16]byte{0xfd, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}).String()
	}
	text = regexp.MustCompile(`([0-9.]+)/([0-9]+) `).ReplaceAllStringFunc(text, func(s string) string {
		p := netip.MustParsePrefix(strings.TrimSpace(s))
		return fmt.Sprintf("%s/%d ", mapped(p.Addr().String()), p.Bits()+96)
	})
	text = regexp.MustCompile(`([0-9]+\.[0-9.]+):([0-9]+)`).ReplaceAllStringFunc(text, func(s string) string {
		a := netip.MustParseAddrPort(s)
		return netip.AddrPortFrom(netip.MustParseAddr(mapped(a.Addr().String())), a.Port()).String()
	})
	return strings.ReplaceAll(text, "icmp-port", "icmp6-port")
}

// What leaves a namespace and which connections it has is the same, packet by packet, whoever does its NAT: the kernel, or the gateway on the wire, by mark or by
// payload.
func TestTwinsOverTheWire(t *testing.T) {
	t.Parallel()
	everyWire(t, func(family nat.Family) *twins { return newTwins(t, dataplane.Legacy, family) }, (*twins).overTheWire)
}

// The same of tables of nf_tables' own.
func TestNativeTwinsOverTheWire(t *testing.T) {
	t.Parallel()
	everyWire(t, func(family nat.Family) *twins {
		w := newTwins(t, dataplane.NFT, family)
		w.kernel.tracer.native = true
		return w
	}, (*twins).nativeOverTheWire)
}

// everyWire plays rounds in both families and by both ways to carry a verdict out.
func everyWire(t *testing.T, twinsOf func(nat.Family) *twins, round func(w *twins, t *testing.T, apply userspace.Apply, d drawn)) {
	t.Helper()
	packets := 2000
	if s := os.Getenv("NATLAB_DIFF"); s != "" {
		var err error
		packets, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		for _, apply := range []userspace.Apply{userspace.ByMark, userspace.ByPayload} {
			t.Run(family.String()+"/"+apply.String(), func(t *testing.T) {
				t.Parallel()
				w := twinsOf(family)
				for w.packets < packets/4 && !t.Failed() {
					rapid.Check(t, func(rt *rapid.T) {
						if w.packets < packets/4 {
							round(w, t, apply, drawn{rt, w.family, w.kernel.version})
						}
					})
				}
				t.Logf("%d packets by %s: no difference", w.packets, apply)
			})
		}
	}
}

// overTheWire gives a round of packets to the kernel, and each to the gateway as well.
func (w *twins) overTheWire(t *testing.T, apply userspace.Apply, d drawn) {
	t.Helper()
	text := w.wireRules(d)
	rs, err := iptables.ParseString(text, w.family)
	if err != nil {
		d.t.Fatalf("%v\n%s", err, text)
	}
	rs = withAllTables(rs) // as the kernel has them from here on
	w.load(t, rs)
	sets, err := ipset.Parse(setsIn(w.family))
	require.NoError(t, err)
	x := w.wired(t, apply, gateway.Rules{rs}, gateway.Facts{Sets: sets})
	defer x.close(t)
	w.bothWays(t, x, d, text)
}

// nativeOverTheWire does so with tables of nf_tables' own.
func (w *twins) nativeOverTheWire(t *testing.T, apply userspace.Apply, d drawn) {
	t.Helper()
	w.rounds++
	rs := d.nativeRules()
	w.settings = d.settings()
	x := w.wired(t, apply, gateway.Rules{{Family: w.family}}, gateway.Facts{NFT: w.loadNative(t, &rs)})
	defer x.close(t)
	w.bothWays(t, x, d, rs.text)
}

// bothWays gives packets to both. text is the rules'.
func (w *twins) bothWays(t *testing.T, x *wire, d drawn, text string) {
	t.Helper()
	var way []string
	for left := 1 + d.n(perRound); left > 0 || len(w.pieces) > 0; left-- {
		if time.Since(w.loaded) > maxRound && len(w.pieces) == 0 {
			return
		}
		dev, pkt, mark := w.draw(d)
		way = append(way, fmt.Sprintf("%q %s", dev, described(pkt)))
		if w.give(t, dev, pkt, mark) != "" || w.guessed { // the twins' own tests tell
			return
		}
		x.ports.next.Store(w.ports.next)
		if got, want := x.give(t, dev, pkt, mark, joinedLines(t, w.left)), joinedLines(t, w.left); got != want && !w.overdue() {
			w.differs(d, "left the gateway:\n%s\nleft the kernel:\n%s\nafter\n%s\n%s\nwith %v\n%s", got, want, strings.Join(way, "\n"), x.gateway.Stats(), unusual(w.settings), text)
		}
	}
	got, want := x.entries(w.family), strings.Join(w.kernel.entries(t), "\n")
	if time.Since(w.loaded) > streamAge { // each saw the packets in its own time
		got, want = ageless(got), ageless(want)
	}
	if got != want && !w.overdue() {
		w.differs(d, "connections of the gateway:\n%s\nof the kernel:\n%s\nafter\n%s\nwith %v\n%s", got, want, strings.Join(way, "\n"), unusual(w.settings), text)
	}
}

// streamAge is how old a connection of UDP has to be for another packet to make it a stream (stream_ts in nf_conntrack_proto_udp.c).
const streamAge = 2 * time.Second

// ageless is a list of entries that does not tell which of UDP are streams, by a bit and a timeout.
func ageless(entries string) string {
	lines := strings.Split(entries, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "udp") {
			lines[i] = strings.Replace(line[:strings.LastIndexByte(line, '|')], "ASSURED|", "", 1)
		}
	}
	return strings.Join(lines, "\n")
}

// wireRules draws a rule set's text, and the node's settings: those of kube-proxy's kind every other time, else any.
func (w *twins) wireRules(d drawn) string {
	w.rounds++
	if w.settings = plainSettings(w.family); d.chance(2) {
		w.tracked, w.homing = true, true
		return wireRules[w.family]
	}
	w.settings = d.settings()
	text := strings.ReplaceAll(textIn(w.family, d.ruleset()), fresh, strconv.Itoa(w.rounds))
	w.tracked, w.homing = tracking.MatchString(text), true
	return text
}

// wired is a namespace of the same plan with a gateway that obeys the rules.
func (w *twins) wired(t *testing.T, apply userspace.Apply, rs gateway.Rules, facts gateway.Facts) *wire {
	t.Helper()
	x := &wire{node: w.wireNode}
	if x.node == nil {
		x.node = newKernelNode(t, w.node, w.family)
		w.wireNode = x.node
	}
	x.node.collect(t)
	require.NoError(t, x.node.set(w.settings...))
	facts.Kernel, facts.IPsec, facts.Queues = w.kernel.version, rules.No, rules.No
	g, err := userspace.Open(x.node.ns, userspace.Options{
		Rules: map[nat.Family]gateway.Rules{w.family: rs}, Apply: apply, Queues: 1 + w.rounds%3, Chance: &x.ports, Facts: facts,
	})
	require.NoError(t, err)
	x.gateway = g
	return x
}

func (x *wire) close(t *testing.T) {
	t.Helper()
	require.NoError(t, x.gateway.Close())
}

// give has the gateway's namespace take a packet, and tells what has left it when nothing is on its way any more, or what is expected has.
func (x *wire) give(t *testing.T, dev string, pkt []byte, mark uint32, want string) string {
	t.Helper()
	if dev == "" {
		x.node.send(t, pkt, mark)
	} else {
		x.node.inject(t, dev, pkt)
	}
	out := map[string][][]byte{}
	const tries = 200 // what lo brings back may be left to a thread of the kernel's
	for try := 0; ; {
		idle, err := x.gateway.Idle()
		require.NoError(t, err)
		for dev, list := range x.node.collect(t) {
			out[dev] = append(out[dev], list...)
		}
		got := joinedLines(t, out)
		if idle && got == want || try == tries {
			return got
		}
		if idle {
			try++
			time.Sleep(time.Millisecond)
		}
	}
}

// joinedLines are kernelLines with fragments put together: the kernel cuts a packet whose bytes came back by the longest of them, and any other as it was cut.
func joinedLines(t *testing.T, out map[string][][]byte) string {
	t.Helper()
	whole := map[string][][]byte{}
	for dev, list := range out {
		var parts packet.Fragments
		for _, b := range list {
			p, err := packet.Parse(slices.Clone(b))
			if err == nil && p.Fragment() {
				joined, ok := parts.Add(&p, 1)
				if !ok {
					continue
				}
				b = joined.Packet
			}
			whole[dev] = append(whole[dev], b)
		}
	}
	return kernelLines(whole)
}

func (x *wire) entries(f nat.Family) string {
	var lines []string
	x.gateway.Conns(f, func(c *conntrack.Conn, now time.Time) {
		if !c.Has(nat.NATClash) {
			lines = append(lines, emulatedEntry(c, now))
		}
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
