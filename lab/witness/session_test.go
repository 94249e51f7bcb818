package witness_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/traffic"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// tables names the nf_tables tables of a namespace.
func tables(t *testing.T, h netns.Handle) []string {
	t.Helper()
	var names []string
	require.NoError(t, h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		list, err := c.ListTables()
		for _, table := range list {
			names = append(names, table.Name)
		}
		return err
	}))
	return names
}

// logger is who gets a namespace's IPv4 log messages.
func logger(t *testing.T, h netns.Handle) string {
	t.Helper()
	var b []byte
	require.NoError(t, h.Do(func() (err error) {
		b, err = os.ReadFile("/proc/sys/net/netfilter/nf_log/2")
		return err
	}))
	return strings.TrimSpace(string(b))
}

// A session leaves nothing behind, and may be closed twice; the node's own rules read the same meanwhile.
func TestCloseLeavesNothing(t *testing.T) {
	for _, b := range dataplane.Backends() {
		t.Run(string(b), func(t *testing.T) {
			w := newWire(t)
			r := w.install(t, b, nodeRules)
			own, before := tables(t, w.node), logger(t, w.node)
			s, err := witness.Start(t.Context(), w.watched(r), witness.Options{})
			require.NoError(t, err)
			require.Equal(t, []string{"natlab"}, tables(t, w.client))
			require.Equal(t, "nfnetlink_log", logger(t, w.node))
			d, err := dataplane.New(b)
			require.NoError(t, err)
			live, err := d.Dump(t.Context(), w.node, nat.IPv4)
			require.NoError(t, err)
			require.Equal(t, r.Legacy.String()+r.NFT.String(), live.String())
			for range 2 {
				require.NoError(t, s.Close())
			}
			require.Equal(t, own, tables(t, w.node))
			require.Empty(t, tables(t, w.client))
			require.Empty(t, tables(t, w.server))
			require.Equal(t, before, logger(t, w.node))
			seen, err := s.Drain(t.Context())
			require.NoError(t, err)
			require.Empty(t, seen)
		})
	}
}

// Two sessions cannot watch one namespace: the second is told so, and the first goes on.
func TestOnlyOneSession(t *testing.T) {
	w := newWire(t)
	s := w.watch(t, w.install(t, dataplane.NFT, nodeRules), witness.Options{})
	_, err := witness.Start(t.Context(), w.watched(witness.Known{}), witness.Options{})
	require.ErrorIs(t, err, witness.ErrBusy)
	require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:41007 > 10.9.0.9:80"))
	require.Len(t, lines(drain(t, s), "client"), 5)
}

// Start is all or nothing: where one namespace cannot be watched, the others are as before.
func TestStartIsAllOrNothing(t *testing.T) {
	w := newWire(t)
	bad := errors.New("no such namespace")
	before := logger(t, w.node)
	watched := append(w.watched(witness.Known{}), witness.Watched{Member: "gone", Kind: topology.KindPod, NS: broken{bad}})
	_, err := witness.Start(t.Context(), watched, witness.Options{})
	require.ErrorIs(t, err, bad)
	require.ErrorContains(t, err, "watch gone")
	for _, h := range []netns.Handle{w.client, w.node, w.server} {
		require.Empty(t, tables(t, h))
		require.Equal(t, before, logger(t, h))
	}
	_, err = witness.Start(t.Context(), append(w.watched(witness.Known{}), w.watched(witness.Known{})...), witness.Options{})
	require.ErrorContains(t, err, `watch "client": named twice`)
}

type broken struct{ err error }

func (b broken) Do(func() error) error { return b.err }

// What a session that died left is replaced, and the packets meanwhile pass: the queue rules have their bypass flag.
func TestLeftover(t *testing.T) {
	w := newWire(t)
	r := w.install(t, dataplane.NFT, nodeRules)
	first, err := witness.Start(t.Context(), w.watched(r), witness.Options{})
	require.NoError(t, err)
	first.Abandon()
	require.Contains(t, tables(t, w.node), "natlab")
	s := w.watch(t, r, witness.Options{})
	require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:41001 > 10.9.0.9:80"))
	require.Len(t, lines(drain(t, s), "client"), 5)
}

func TestBypassWhenNobodyListens(t *testing.T) {
	w := newWire(t)
	r := w.install(t, dataplane.NFT, nodeRules)
	first, err := witness.Start(t.Context(), w.watched(r), witness.Options{})
	require.NoError(t, err)
	first.Abandon()
	c, err := traffic.Serve(w.server, "server", nat.TCP, netip.AddrPortFrom(serverAddr, 8080))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:41002 > 10.9.0.9:80"))
}

// The control run sees connections and makes no table.
func TestControl(t *testing.T) {
	w := newWire(t)
	before := logger(t, w.node)
	s := w.watch(t, w.install(t, dataplane.Legacy, nodeRules), witness.Options{Control: true})
	require.Empty(t, tables(t, w.node))
	require.Equal(t, before, logger(t, w.node))
	require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:41003 > 10.9.0.9:80"))
	seen := drain(t, s)
	require.Empty(t, lines(seen, ""))
	require.NotEmpty(t, conns(seen, "tcp 10.1.0.2:41003 > 10.9.0.9:80"))
	listed, err := s.Conns(t.Context(), "node")
	require.NoError(t, err)
	require.Len(t, listed, 1)
	require.Equal(t, "tcp 10.1.0.2:41003 > 10.9.0.9:80", listed[0].Original.String())
	require.NotZero(t, listed[0].ID)
	_, err = s.Hold("node", nat.TapPreRaw, nil)
	require.ErrorContains(t, err, "there is no tap")
	_, err = s.Conns(t.Context(), "nobody")
	require.ErrorContains(t, err, `"nobody" is not watched`)
}

// Every first packet of many flows at the same time is seen at every tap, and with every rule. Without MASQUERADE: of
// many connections that are unconfirmed together two may draw the same port, and the kernel drops one.
func TestManyAtOnce(t *testing.T) {
	const dnat = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n" +
		"-A PREROUTING -d 10.9.0.9/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.2.0.2:8080\nCOMMIT\n"
	for _, b := range dataplane.Backends() {
		t.Run(string(b), func(t *testing.T) {
			w := newWire(t)
			s := w.watch(t, w.install(t, b, dnat), witness.Options{})
			told := map[string]bool{}
			one := count(t, w, s, 1, told)
			const flows = 300
			for what, n := range count(t, w, s, flows, told) {
				require.Equal(t, flows*one[what], n, what)
			}
			tell(t, drain(t, s), told)
		})
	}
}

// count drives connections at the same time and counts what is seen of them in each namespace. On a machine that is busy
// with other things TCP sends a packet again, which counts once at each place, whatever it looks like there: an answer that is
// repeated after the connection has ended is invalid to conntrack, and nothing translates it back. A RST tells of such an
// answer that it came too late.
func count(t *testing.T, w wire, s *witness.Session, flows int, told map[string]bool) map[string]int {
	t.Helper()
	var tuples []nat.Tuple
	for i := range flows {
		tuples = append(tuples, nat.TupleOf(nat.TCP, netip.AddrPortFrom(clientAddr, uint16(20000+10*flows+i)), netip.AddrPortFrom(vipAddr, 80)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, r := range traffic.AskAll(ctx, w.client, tuples) {
		require.NoError(t, r.Err)
	}
	const rst = 4
	out, before := map[string]int{}, map[sight]bool{}
	seen := drain(t, s)
	tell(t, seen, told)
	for _, o := range seen {
		if o.Kind == proof.ConnSeen || o.TCPFlags&rst != 0 {
			continue
		}
		key := sightOf(o)
		if !before[key] {
			out[fmt.Sprint(o.Kind, " in ", o.Node)]++
		}
		before[key] = true
	}
	require.NotEmpty(t, out)
	return out
}

// sight is a place where a packet of a connection was seen: a tap or a rule, and whose and which packet it was.
type sight struct {
	node, place string
	client      netip.AddrPort
	flags       uint8
}

func sightOf(o proof.Observation) sight {
	tuple, place := o.Hop.Tuple, fmt.Sprint(o.Hop.Tap, o.Hop.Dev)
	if o.Kind == proof.RuleHit {
		tuple, place = o.Step.Before, fmt.Sprint(o.Step.Hook, o.Step.Table, o.Step.Chain, o.Step.Rule)
	}
	client := tuple.Src()
	if client.Addr() != clientAddr {
		client = tuple.Dst()
	}
	return sight{o.Node, place, client, o.TCPFlags}
}

// tell keeps what has been told by its witness and number: nothing is told twice.
func tell(t *testing.T, seen []proof.Observation, told map[string]bool) {
	t.Helper()
	for _, o := range seen {
		key := fmt.Sprint(o.Node, o.Kind, o.Seq)
		require.False(t, told[key], "%s is told twice", key)
		told[key] = true
	}
}

// What no socket had room for is counted. The readers are kept from reading while more comes than fits.
func TestLost(t *testing.T) {
	const datagrams = 300
	for _, row := range []struct {
		name    string
		watched func(w wire) witness.Watched
		control bool
		dev     string
	}{
		{"queued packets", func(w wire) witness.Watched { return w.watched(witness.Known{})[2] }, false, "eth0"},
		{"rule hits", func(w wire) witness.Watched { return w.watched(witness.Known{})[1] }, false, "toclient"},
		{"conntrack events", func(w wire) witness.Watched { return w.watched(witness.Known{})[1] }, true, "toclient"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWire(t)
			w.install(t, dataplane.NFT, "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n")
			watched := row.watched(w)
			s, err := witness.Start(t.Context(), []witness.Watched{watched}, witness.Options{Control: row.control, Buffer: 4096})
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			require.Zero(t, s.Lost())
			release := s.Stall(watched.Member)
			for i := range datagrams {
				sendRaw(t, w.client, clientAddr, serverAddr, nat.UDP, udpHeader(uint16(21000+i), 99, nil))
			}
			require.Eventually(t, func() bool { return received(t, watched.NS.(netns.Handle), row.dev) >= datagrams }, 5*time.Second, time.Millisecond)
			release()
			require.Positive(t, s.Lost())
			lost := s.Lost()
			require.NoError(t, s.Close())
			require.GreaterOrEqual(t, s.Lost(), lost, "the count outlives the session")
		})
	}
}

// What the log had no room for is counted, too, where nothing comes after it whose number would show the gap.
func TestLostAtTheEndOfTheLog(t *testing.T) {
	const resets = 300
	w := newWire(t)
	s, err := witness.Start(t.Context(), []witness.Watched{w.watched(witness.Known{})[0]}, witness.Options{Buffer: 4096})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	release := s.Stall("client")
	for i := range resets {
		sendRaw(t, w.client, clientAddr, serverAddr, nat.TCP, tcpHeader(uint16(22000+i), 99, 4))
	}
	require.Eventually(t, func() bool { return received(t, w.node, "toclient") >= resets }, 5*time.Second, time.Millisecond)
	release()
	require.Positive(t, s.Lost())
}

// received is the number of packets that came in by a device.
func received(t *testing.T, h netns.Handle, dev string) uint64 {
	t.Helper()
	nl, err := h.Netlink()
	require.NoError(t, err)
	defer nl.Close()
	l, err := nl.LinkByName(dev)
	require.NoError(t, err)
	return l.Attrs().Statistics.RxPackets
}

// The place of a rule is where it is now: after a rule before it is gone, it is one less.
func TestPlacesFollowTheRules(t *testing.T) {
	each(t, func(t *testing.T, w wire, s *witness.Session) {
		t.Helper()
		require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:41004 > 10.9.0.9:80"))
		require.Contains(t, strings.Join(lines(drain(t, s), "node"), "\n"), "nat KUBE-SERVICES:2 jump")
		b := dataplane.Legacy
		if strings.HasSuffix(t.Name(), string(dataplane.NFT)) {
			b = dataplane.NFT
		}
		shorter := strings.Replace(nodeRules, "-A KUBE-SERVICES -d 10.9.0.8/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-X\n", "", 1)
		require.NoError(t, s.SetRules("node", w.install(t, b, shorter)))
		require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:41005 > 10.9.0.9:80"))
		require.Contains(t, strings.Join(lines(drain(t, s), "node"), "\n"), "nat KUBE-SERVICES:1 jump")

		other := strings.Replace(shorter, "-A PREROUTING -j KUBE-SERVICES", "-A PREROUTING -m comment --comment other -j KUBE-SERVICES", 1)
		require.NotEqual(t, shorter, other)
		require.NoError(t, s.SetRules("node", w.install(t, b, other)))
		require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:41006 > 10.9.0.9:80"))
		require.True(t, slices.ContainsFunc(drain(t, s), func(o proof.Observation) bool {
			return o.Step.Chain == "PREROUTING" && strings.Contains(o.Step.Text, "--comment other")
		}), "another rule in the same place")
	})
}

// With rules in both backends both are told of. The hook calls first what was registered last at the same priority, so
// that decides which DNAT wins.
func TestBothBackends(t *testing.T) {
	const to = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.9.0.9/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.2.0.2:%d\nCOMMIT\n"
	for _, order := range [][]dataplane.Backend{{dataplane.Legacy, dataplane.NFT}, {dataplane.NFT, dataplane.Legacy}} {
		t.Run(fmt.Sprint(order[1], " last"), func(t *testing.T) {
			w := newWire(t)
			var r witness.Known
			for i, b := range order {
				got := w.install(t, b, fmt.Sprintf(to, 8081-i))
				if b == dataplane.NFT {
					r.NFT = got.NFT
				} else {
					r.Legacy = got.Legacy
				}
			}
			s := w.watch(t, r, witness.Options{})
			require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:41006 > 10.9.0.9:80"), "the rules of %s win", order[1])
			var hits []string
			for _, line := range lines(drain(t, s), "node") {
				if strings.HasPrefix(line, "  nat PREROUTING") {
					hits = append(hits, line)
				}
			}
			require.Equal(t, []string{"  nat PREROUTING:1 accept toclient> tcp 10.1.0.2:41006 > 10.9.0.9:80 0x0"}, hits, "the other's are not reached")
			all, err := dataplane.DumpAll(t.Context(), w.node, nat.IPv4)
			require.NoError(t, err)
			require.Len(t, all, 2)
		})
	}
}

func TestStats(t *testing.T) {
	w := newWire(t)
	s := w.watch(t, w.install(t, dataplane.NFT, nodeRules), witness.Options{})
	before, err := s.Stats(t.Context(), "node")
	require.NoError(t, err)
	// A TCP segment out of nowhere with an impossible flag combination is INVALID.
	sendRaw(t, w.client, clientAddr, serverAddr, nat.TCP, tcpHeader(1, 2, 0x3f))
	require.Eventually(t, func() bool {
		after, err := s.Stats(t.Context(), "node")
		return err == nil && after.Sub(before).Invalid == 1
	}, 5*time.Second, time.Millisecond)
	require.Equal(t, witness.Counters{}, before.Sub(before))
}

// Later packets of a connection are told of while they are asked for, with the rules that they meet, and at no other time.
func TestLater(t *testing.T) {
	for _, b := range dataplane.Backends() {
		t.Run(string(b), func(t *testing.T) {
			w := newWire(t)
			s := w.watch(t, w.install(t, b, nodeRules), witness.Options{})
			const syn = 2
			later := func() (packets map[string]int, hits int) {
				packets = map[string]int{}
				require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:0 > 10.9.0.9:80"))
				for _, o := range drain(t, s) {
					switch {
					case o.Kind == proof.RuleHit && o.Step.Before.Proto() == nat.TCP:
						require.NotZero(t, o.TCPFlags)
						if o.TCPFlags&syn == 0 {
							hits++
						}
					case o.Kind == proof.PacketSeen && o.TCPFlags&syn == 0:
						packets[o.Node]++
					}
				}
				return packets, hits
			}
			packets, hits := later()
			require.Empty(t, packets)
			require.Zero(t, hits)
			require.NoError(t, s.Later(true))
			packets, hits = later()
			require.Len(t, packets, 3, "%v", packets)
			require.NotZero(t, hits)
			require.NoError(t, s.Later(false))
			drain(t, s) // what came meanwhile
			packets, hits = later()
			require.Empty(t, packets)
			require.Zero(t, hits)
		})
	}
}
