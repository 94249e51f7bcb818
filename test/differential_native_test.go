package test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
	"natlab/nat/nftables"
	"natlab/nat/nftnl"
	"natlab/nat/rules"
)

// nativeRules are tables of nf_tables' own: what the nft program is given, and the order in which the base chains of it register, as
// "ip table chain", the last one last. Those that are not there count as registered before.
type nativeRules struct {
	text    string
	order   []string
	listed  bool // what nft lists of them is loaded in their place, and read; else the kernel is read by netlink
	misread bool // listed, but nft reads a rule of its listing as another: natlab alone reads it, as what it has been made of
	refused int  // rules that the program did not take
}

func (rs nativeRules) String() string {
	if rs.listed {
		return "# as nft lists:\n" + rs.text
	}
	return rs.text
}

// TestDifferentialNative gives both sides generated tables of nf_tables' own, loaded by the nft program, and packets. NATLAB_DIFF is how many;
// a difference is shrunk to a small rule set with few packets.
func TestDifferentialNative(t *testing.T) {
	t.Parallel()
	packets := 6000
	if s := os.Getenv("NATLAB_DIFF"); s != "" {
		var err error
		packets, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	onNativeTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		w.long = packets >= longRun
		for w.packets < packets/2 && !t.Failed() {
			rapid.Check(t, func(rt *rapid.T) {
				if w.packets < packets/2 {
					w.nativeRound(t, drawn{rt, w.family, w.kernel.version})
				}
			})
			if w.long {
				t.Logf("%d packets, %d rule sets so far", w.packets, w.rounds)
			}
		}
		require.Less(t, 5*w.refused, w.ruled, "too many of the drawn rules are refused")
		require.Less(t, w.rounds, 10*(w.listed-w.misread), "too few of the listings can be loaded")
		t.Logf("%d packets, %d rule sets, %d of them as listed (%d of those read by natlab alone), %d connections: no difference; %d rules, %d refused; not modelled: %v", w.packets, w.rounds, w.listed, w.misread, w.connections, w.ruled, w.refused, w.unmodelled)
	})
}

// onNativeTwins runs a test on both families.
func onNativeTwins(t *testing.T, test func(t *testing.T, w *twins)) {
	t.Helper()
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		t.Run(string(nftables.FamilyOf(family)), func(t *testing.T) {
			t.Parallel()
			w := newTwins(t, dataplane.NFT, family)
			w.kernel.tracer.native = true
			test(t, w)
		})
	}
}

// nativeRound gives both sides a drawn rule set and packets.
func (w *twins) nativeRound(t *testing.T, d drawn) {
	t.Helper()
	w.rounds++
	rs := d.nativeRules()
	w.settings = d.settings()
	w.loadNative(t, &rs)
	if rs.listed {
		w.listed++
	}
	if rs.misread {
		w.misread++
	}
	w.refused, w.ruled = w.refused+rs.refused, w.ruled+strings.Count(rs.text, "add rule ")
	var way []string
	for left := w.lasting(d); left > 0 || len(w.pieces) > 0; left-- {
		if time.Since(w.loaded) > maxRound && len(w.pieces) == 0 {
			break
		}
		dev, pkt, mark := w.draw(d)
		way = append(way, fmt.Sprintf("%q %s mark %#x", dev, described(pkt), mark))
		diff := w.give(t, dev, pkt, mark)
		if diff == undecided {
			return
		}
		if diff != "" {
			d.t.Fatalf("%s\nafter\n%s\nwith %v\n%s", diff, strings.Join(way, "\n"), unusual(w.settings), rs)
		}
	}
	if got, want := w.ends(t); got != want && !w.overdue() {
		d.t.Fatalf("connections in the emulator:\n%s\nconnections in the kernel:\n%s\nafter\n%s\nwith\n%s", got, want, strings.Join(way, "\n"), rs)
	}
	w.connections += w.emulator.Conns().Len()
}

// longRun is how many packets are so many that loading rule sets, which costs what hundreds of packets do, would take nearly all of the time: then a rule
// set gets any number up to 512 alike, and mostly none that ends it because the emulator does not model it.
const longRun = 20000

// lasting is how many packets a rule set gets.
func (w *twins) lasting(d drawn) int {
	if w.long {
		return 1 + d.evenly(9)
	}
	return 1 + d.n(perRound)
}

// loadNative gives both sides tables of nf_tables' own, and forgets all connections. It returns them as they are listed.
func (w *twins) loadNative(t *testing.T, rs *nativeRules) nftables.Ruleset {
	t.Helper()
	k := w.kernel
	listed, err := k.loadNative(t, rs)
	require.NoError(t, err)
	require.NoError(t, k.conns.Flush())
	if err := k.set(fragments6); !errors.Is(err, os.ErrNotExist) { // it is there when a rule tracks
		require.NoError(t, err)
	}
	w.tracked = slices.ContainsFunc(listed.Tables, func(t nftables.Table) bool { return t.Tracks(w.family) })
	w.homing = strings.Contains(rs.text, "dnat") || strings.Contains(rs.text, "redirect")
	g, err := gateway.NewGateway(w.set(t), nil, gateway.NodeOptions{
		Chance: &w.ports, Trace: true, Senders: w.senders, Family: w.family,
		Facts:   gateway.Facts{Kernel: k.version, NFT: listed, Sets: ipset.Sets{}, IPsec: rules.No, Queues: rules.No},
		Unknown: func(rule string) bool { w.unknown = rule; return false },
		UID:     rules.ID{Known: true}, GID: rules.ID{Known: true}, Listens: func(nat.Tuple) bool { return false },
	})
	require.NoError(t, err)
	w.emulator = g
	k.collect(t)
	_, _ = k.tracer.read()
	w.before, w.pieces, w.next = nil, nil, map[nat.Tuple]uint32{}
	w.loaded, w.born = time.Now(), map[*conntrack.Conn]span{}
	w.facts = map[*conntrack.Conn]entryFacts{}
	return listed
}

// loadNative replaces all rules of the namespace, and is what natlab reads of them there: by netlink, or the text that nft lists.
func (k *kernelNode) loadNative(t *testing.T, rs *nativeRules) (out nftables.Ruleset, err error) {
	t.Helper()
	err = k.ns.Do(func() (err error) {
		if k.nft == nil {
			k.nft, err = startNFT()
		}
		return errors.Join(err, traceAll(k.family))
	})
	if err != nil {
		return out, err
	}
	if err := k.feedNFT(rs); err != nil {
		return out, err
	}
	listed := k.listNative(t)
	switch {
	case rs.misread:
		out = listed
	case rs.listed:
		if rs.listed = k.relist(t, listed); !rs.listed {
			return k.loadNative(t, rs)
		}
		again := k.listNative(t)
		// A reset's dependency, which is not listed, comes to the rule's head, wherever it stood.
		if text := listed.String(); text != again.String() && strings.Contains(text, "reject with tcp reset") {
			rs.misread = true
			return k.loadNative(t, rs)
		}
		rs.order = registration(listed)
		require.True(t, takeHandles(listed, again), "the kernel has other rules by nft's listing:\n%s\nthan\n%s", again, listed)
		out = listed
	default:
		out = k.readNative(t)
	}
	registerInOrder(out, rs.order)
	k.tracer.learnNative(out)
	return out, nil
}

// listNative is what nft lists, without what traces.
func (k *kernelNode) listNative(t *testing.T) nftables.Ruleset {
	t.Helper()
	listing, err := k.nft.do("list ruleset")
	require.NoError(t, err)
	out, err := nftables.ParseText(listing)
	require.NoError(t, err, listing)
	require.Equal(t, handleMark.ReplaceAllString(listing, ""), out.String(), "what nft lists comes back to the byte")
	return withoutTraces(out)
}

func withoutTraces(rs nftables.Ruleset) nftables.Ruleset {
	return rs.Without(func(t *nftables.Table) bool { return t.Name == "natlab" })
}

// relist loads what nft lists, in place of what was loaded: a listing may say less. false: nft does not take it, and nothing is loaded.
func (k *kernelNode) relist(t *testing.T, listed nftables.Ruleset) bool {
	t.Helper()
	text := ""
	for i := range listed.Tables {
		text += "delete table " + listed.Tables[i].FullName() + "\n"
	}
	require.NoError(t, k.nft.load(text)) // by itself, so that NAT registers anew
	return k.nft.load(listed.String()) == nil
}

// readNative is what natlab reads of a live namespace, without what traces: by netlink, and as nft lists it what is not read there.
func (k *kernelNode) readNative(t *testing.T) (out nftables.Ruleset) {
	t.Helper()
	for _, family := range []nftables.Family{nftables.FamilyOf(k.family), nftables.Inet} {
		rs, err := dataplane.NFTTables(t.Context(), k.ns, family)
		require.NoError(t, err)
		require.False(t, nftnl.Unread(rs), "something is not read:\n%s", rs)
		out = out.And(rs)
	}
	return withoutTraces(out)
}

// registration is the order in which the base chains of a listing register where it is loaded.
func registration(rs nftables.Ruleset) (order []string) {
	for i := range rs.Tables {
		for _, c := range rs.Tables[i].Chains {
			if c.Base != nil {
				order = append(order, rs.Tables[i].FullName()+" "+c.Name)
			}
		}
	}
	return order
}

// takeHandles gives rules the handles of what was loaded by them; false where those are not as many.
func takeHandles(rs, from nftables.Ruleset) bool {
	same := len(rs.Tables) == len(from.Tables)
	for i := 0; same && i < len(rs.Tables); i++ {
		chains, others := rs.Tables[i].Chains, from.Tables[i].Chains
		same = len(chains) == len(others)
		for j := 0; same && j < len(chains); j++ {
			same = len(chains[j].Rules) == len(others[j].Rules)
			for n := 0; same && n < len(chains[j].Rules); n++ {
				chains[j].Rules[n].Handle = others[j].Rules[n].Handle
			}
		}
	}
	return same
}

// handleMark is how nft lists a handle.
var handleMark = regexp.MustCompile(` # handle \d+`)

// refusal is where nft tells that it does not take a line.
var refusal = regexp.MustCompile(`(?m)^\S+/rules\.nft:(\d+):`)

// feedNFT hands rules to the nft program, without those that it does not take: what it wants of a rule's parts together is its own.
func (k *kernelNode) feedNFT(rs *nativeRules) error {
	for {
		err := k.nft.load(rs.text)
		if err == nil {
			return nil
		}
		lines, before := strings.Split(rs.text, "\n"), rs.refused
		for _, m := range refusal.FindAllStringSubmatch(err.Error(), -1) {
			n, _ := strconv.Atoi(m[1])
			if strings.HasPrefix(lines[n-1], "add rule ") {
				lines[n-1] = ""
				rs.refused++
			}
		}
		if rs.refused == before {
			return fmt.Errorf("%w\n%s", err, rs.text)
		}
		rs.text = strings.Join(slices.DeleteFunc(lines, func(l string) bool { return l == "" }), "\n") + "\n"
	}
}

// registerInOrder numbers base chains in an order, those that are not in it before.
func registerInOrder(rs nftables.Ruleset, order []string) {
	for i := range rs.Tables {
		t := &rs.Tables[i]
		for _, c := range t.Chains {
			if c.Base != nil {
				c.Base.Registered = slices.Index(order, t.FullName()+" "+c.Name)
			}
		}
	}
}

// learnNative reads which rule has which handle.
func (t *tracer) learnNative(rs nftables.Ruleset) {
	t.places, t.rules = map[string]map[uint64]string{}, map[string]int{}
	for i := range rs.Tables {
		places := map[uint64]string{}
		for _, c := range rs.Tables[i].Chains {
			for n, r := range c.Rules {
				places[r.Handle] = fmt.Sprintf("%s:%d", c.Name, n+1)
			}
		}
		t.places[rs.Tables[i].FullName()] = places
	}
}
