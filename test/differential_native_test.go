package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	"natlab/nat/rules"
)

// nativeRules are tables of nf_tables' own: what the nft program is given, and the order in which the base chains of it register, as
// "ip table chain", the last one last. Those that are not there count as registered before.
type nativeRules struct {
	text    string
	order   []string
	refused int // rules that the program did not take
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
		for w.packets < packets/2 && !t.Failed() {
			rapid.Check(t, func(rt *rapid.T) {
				if w.packets < packets/2 {
					w.nativeRound(t, drawn{rt, w.family, w.kernel.version})
				}
			})
		}
		require.Less(t, 5*w.refused, w.ruled, "too many of the drawn rules are refused")
		t.Logf("%d packets, %d rule sets, %d connections: no difference; %d rules, %d refused; not modelled: %v", w.packets, w.rounds, w.connections, w.ruled, w.refused, w.unmodelled)
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
	w.refused, w.ruled = w.refused+rs.refused, w.ruled+strings.Count(rs.text, "add rule ")
	var way []string
	for left := 1 + d.n(perRound); left > 0 || len(w.pieces) > 0; left-- {
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
			d.t.Fatalf("%s\nafter\n%s\nwith %v\n%s", diff, strings.Join(way, "\n"), unusual(w.settings), rs.text)
		}
	}
	if got, want := w.ends(t); got != want && !w.overdue() {
		d.t.Fatalf("connections in the emulator:\n%s\nconnections in the kernel:\n%s\nafter\n%s\nwith\n%s", got, want, strings.Join(way, "\n"), rs.text)
	}
	w.connections += w.emulator.Conns().Len()
}

// loadNative gives both sides tables of nf_tables' own, and forgets all connections.
func (w *twins) loadNative(t *testing.T, rs *nativeRules) {
	t.Helper()
	k := w.kernel
	listed, err := k.loadNative(t, rs)
	require.NoError(t, err)
	require.NoError(t, k.conns.Flush())
	if err := k.set("net/netfilter/nf_conntrack_frag6_timeout", "100000"); !errors.Is(err, os.ErrNotExist) { // it is there when a rule tracks
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
	w.lines = map[*conntrack.Conn]string{}
}

// loadNative replaces all rules of the namespace, and is what nft lists of them then.
func (k *kernelNode) loadNative(t *testing.T, rs *nativeRules) (out nftables.Ruleset, err error) {
	t.Helper()
	listing := ""
	err = k.ns.Do(func() error {
		if err := traceAll(k.family); err != nil {
			return err
		}
		if err := k.feedNFT(t, rs); err != nil {
			return err
		}
		listing, err = runNFT(t, "", "-a", "list", "ruleset")
		return err
	})
	if err != nil {
		return out, err
	}
	if out, err = nftables.ParseText(listing); err != nil {
		return out, fmt.Errorf("%w\n%s", err, listing)
	}
	require.Equal(t, handleMark.ReplaceAllString(listing, ""), out.String(), "what nft lists comes back to the byte")
	out = out.Without(func(t *nftables.Table) bool { return t.Name == "natlab" })
	registerInOrder(out, rs.order)
	k.tracer.learnNative(out)
	return out, nil
}

// handleMark is how nft lists a handle.
var handleMark = regexp.MustCompile(` # handle \d+`)

// refusal is where nft tells that it does not take a line.
var refusal = regexp.MustCompile(`(?m)^/dev/stdin:(\d+):`)

// feedNFT hands rules to the nft program, without those that it does not take: what it wants of a rule's parts together is its own.
func (k *kernelNode) feedNFT(t *testing.T, rs *nativeRules) error {
	t.Helper()
	for {
		_, err := runNFT(t, rs.text, "-f", "-")
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

// runNFT runs the nft program in the namespace of this thread.
func runNFT(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nft", args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nft: %w\n%s", err, out)
	}
	return string(out), nil
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
