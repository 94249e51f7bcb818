package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab/dataplane"
	"natlab/lab/traffic"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/packet"
	"natlab/nat/proof"
	"natlab/topology"
)

// doWatch: watch opens the taps and the trace in all namespaces; met, hop and hold need it. Packets then wait for natlab
// at every tap, so a scenario about timing opens them only if it holds packets.
func doWatch(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) > 0 || s.taps != nil {
		return usagef("watch, once")
	}
	return s.openTaps()
}

func (s *stage) openTaps() error {
	all := s.watched()
	for i := range all {
		if all[i].Kind != topology.KindNode {
			continue
		}
		r, err := s.liveRules(all[i].Member)
		if err != nil {
			return err
		}
		all[i].Rules = r
	}
	var err error
	s.taps, err = witness.Start(s.ctx, all, witness.Options{Family: s.family()})
	return err
}

// refreshRules tells the witnesses what the nodes hold now, so that they can name the rules that packets meet.
func (s *stage) refreshRules() error {
	if s.taps == nil {
		return nil
	}
	for _, node := range s.lab.Nodes() {
		r, err := s.liveRules(node)
		if err == nil {
			err = s.taps.SetRules(node, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// liveRules are what a node holds, so that the trace's rules have their text.
func (s *stage) liveRules(node string) (r witness.Known, err error) {
	h, err := s.lab.Handle(node)
	if err != nil {
		return r, err
	}
	all, err := dataplane.DumpAll(s.ctx, h, s.family())
	for _, installed := range all {
		if installed.Backend == dataplane.NFT {
			r.NFT = installed.Rules
		} else {
			r.Legacy = installed.Rules
		}
	}
	if err != nil || !s.nftables() {
		return r, err
	}
	now, err := s.lab.NetworkOf(s.ctx, []string{node})
	r.Native = now.NFTOf[node]
	return r, err
}

// observed joins what the witnesses have seen up to now to the last exchange.
func (s *stage) observed() (proof.Seen, error) {
	if s.taps == nil {
		return proof.Seen{}, usagef("nothing is watched: watch comes before the exchange")
	}
	if err := s.drain(); err != nil {
		return proof.Seen{}, err
	}
	return s.joined(s.last), nil
}

// drain takes in what the witnesses have seen up to now.
func (s *stage) drain() error {
	if s.taps == nil {
		return nil
	}
	more, err := s.taps.Drain(s.ctx)
	s.seen = append(s.seen, more...)
	return err
}

// joined is what was seen of an exchange.
func (s *stage) joined(a asked) proof.Seen { return joinedOf(a, s.ofExchange(a)) }

// ofExchange lists packets and rules since an exchange began, and the connections of before, by which a packet is known behind a
// translation.
func (s *stage) ofExchange(a asked) []proof.Observation { return s.between(a.since, len(s.seen)) }

// between lists packets and rules since one, and until before another, and the connections of before.
func (s *stage) between(since, until int) (all []proof.Observation) {
	for i, o := range s.seen[:until] {
		if i >= since || o.Kind == proof.ConnSeen {
			all = append(all, o)
		}
	}
	return all
}

func joinedOf(a asked, all []proof.Observation) proof.Seen {
	return proof.Join([]nat.Probe{a.probe()}, all)[0]
}

// doMet: met NODE CHAIN holds if the last exchange's first packet, or its answer, met a rule of the chain there, or
// CHAIN:N its Nth rule; ! met if neither did.
func doMet(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if len(args) != 2 {
		return usagef("met NODE CHAIN[:RULE]")
	}
	return s.await(not, func() (bool, string, error) {
		seen, err := s.observed()
		var all []string
		found := false
		for _, step := range slices.Concat(seen.Request.Steps, seen.Reply.Steps) {
			if step.Node == args[0] {
				all = append(all, fmt.Sprintf("%s:%d", step.Chain, step.Rule))
				found = found || step.Chain == args[1] || fmt.Sprintf("%s:%d", step.Chain, step.Rule) == args[1]
			}
		}
		return found, fmt.Sprintf("in %s the packets met %s", args[0], strings.Join(all, " ")), err
	})
}

// doHop: hop NODE TAP [src=END] [dst=END] [mark=0xN] [way=request|reply] holds if the last exchange's first packet, or
// with way=reply its answer, was seen so at the tap; ! hop if it was not.
func doHop(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if len(args) < 2 {
		return usagef("hop NODE TAP [src=END] [dst=END] [mark=0xN] [way=request|reply]")
	}
	o, err := options(args[2:], "src", "dst", "mark", "way")
	if err != nil {
		return err
	}
	var tap nat.Tap
	if err := tap.UnmarshalText([]byte(args[1])); err != nil {
		return err
	}
	src, err := endMatch(o["src"])
	if err != nil {
		return err
	}
	dst, err := endMatch(o["dst"])
	if err != nil {
		return err
	}
	return s.await(not, func() (bool, string, error) {
		seen, err := s.observed()
		way := seen.Request
		if o["way"] == "reply" {
			way = seen.Reply
		}
		found := slices.ContainsFunc(way.Hops, func(h nat.Hop) bool {
			return h.Node == args[0] && h.Tap == tap && src(h.Tuple.Src()) && dst(h.Tuple.Dst()) && (o["mark"] == "" || o["mark"] == fmt.Sprintf("%#x", h.Mark))
		})
		return found, fmt.Sprintf("want %s %v, got\n%s", args[1], args[2:], hopsText(seen)), err
	})
}

func hopsText(seen proof.Seen) string {
	var b strings.Builder
	for _, h := range seen.Request.Hops {
		fmt.Fprintln(&b, "  request", h)
	}
	for _, h := range seen.Reply.Hops {
		fmt.Fprintln(&b, "  reply  ", h)
	}
	return b.String()
}

// drawn is the way of a packet that did not fare as it should: as it was seen, or, where nothing was watched, as it is
// seen when it is asked once more.
func (s *stage) drawn(a asked) string {
	if !a.tuple.IsValid() {
		return ""
	}
	if s.taps == nil {
		if err := s.openTaps(); err != nil {
			return "its way cannot be drawn: " + err.Error()
		}
		if err := s.askAgain(a); err != nil {
			return "its way cannot be drawn: " + err.Error()
		}
	}
	seen, err := s.observed()
	if err != nil {
		return "its way cannot be drawn: " + err.Error()
	}
	var b strings.Builder
	fmt.Fprintln(&b, "the way of its first packet, and of the answer to it:")
	b.WriteString(hopsText(seen))
	for _, step := range slices.Concat(seen.Request.Steps, seen.Reply.Steps) {
		fmt.Fprintf(&b, "  %s %s: %s\n", step.Node, step.Table, step.Text)
	}
	return b.String()
}

// askAgain repeats an exchange for the taps to see, from another port.
func (s *stage) askAgain(a asked) error {
	h, err := s.lab.Handle(a.from)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, impatience)
	defer cancel()
	again := asked{since: len(s.seen), from: a.from, tuple: a.tuple.WithSrc(netip.AddrPortFrom(a.tuple.Src().Addr(), 0))}
	again.answer, again.err = traffic.Ask(ctx, h, again.tuple)
	local := again.local()
	if !local.IsValid() {
		return fmt.Errorf("%s", again)
	}
	again.tuple = again.tuple.WithSrc(local)
	s.last = again
	return nil
}

// doHold: hold NAME NODE TAP [proto=P] [src=END] [dst=END] [way=] keeps the packets that fit at a tap, from now on.
func doHold(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) < 3 || s.taps == nil {
		return usagef("hold NAME NODE TAP [proto=P] [src=END] [dst=END], after watch")
	}
	o, err := options(args[3:], "proto", "src", "dst")
	if err != nil {
		return err
	}
	var tap nat.Tap
	if err := tap.UnmarshalText([]byte(args[2])); err != nil {
		return err
	}
	src, err := endMatch(o["src"])
	if err != nil {
		return err
	}
	dst, err := endMatch(o["dst"])
	if err != nil {
		return err
	}
	s.holds[args[0]], err = s.taps.Hold(args[1], tap, func(seen proof.Observation) bool {
		t := seen.Hop.Tuple
		return (o["proto"] == "" || o["proto"] == t.Proto().String()) && src(t.Src()) && dst(t.Dst())
	})
	return err
}

// doHeld: held NAME N waits until N packets are held.
func doHeld(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if not || len(args) != 2 || s.holds[args[0]] == nil {
		return usagef("held NAME N, after hold NAME")
	}
	least, err := atLeast(append([]string{""}, args...), "held NAME N")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	held, err := s.holds[args[0]].Wait(ctx, int(least))
	for _, p := range held {
		ts.Logf("held: %s", p.Seen.Hop)
	}
	return err
}

// doRelease: release NAME [order=N,N,...] lets what is held go on, in the order in which it came or in another, and ends
// the hold.
func doRelease(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) == 0 || s.holds[args[0]] == nil {
		return usagef("release NAME [order=2,1], after hold NAME")
	}
	o, err := options(args[1:], "order")
	if err != nil {
		return err
	}
	h := s.holds[args[0]]
	delete(s.holds, args[0])
	if o["order"] == "" {
		return h.Release()
	}
	held, err := h.Wait(s.ctx, 0)
	if err != nil {
		return err
	}
	for word := range strings.SplitSeq(o["order"], ",") {
		var at int
		if _, err := fmt.Sscan(word, &at); err != nil || at < 1 || at > len(held) {
			return usagef("order=%s: want numbers of 1 to %d", o["order"], len(held))
		}
		if err := held[at-1].Release(); err != nil {
			return err
		}
	}
	return h.Release()
}

// doDrop: drop NAME ends what is held, and the hold.
func doDrop(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) != 1 {
		return usagef("drop NAME, after hold NAME")
	}
	return s.eachHeld(args[0], (*witness.Packet).Drop)
}

// doDuplicate: duplicate NAME sends a copy of each packet that is held at postrouting, and then lets it go on itself.
func doDuplicate(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) != 1 {
		return usagef("duplicate NAME, after hold NAME NODE postrouting")
	}
	s.loose = true
	return s.eachHeld(args[0], func(p *witness.Packet) error {
		return errors.Join(p.Duplicate(), p.Release())
	})
}

// doRewrite: rewrite NAME [src=ADDRESS:PORT] [dst=ADDRESS:PORT] lets each packet that is held go on with other
// ends, its checksums right.
func doRewrite(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) < 2 {
		return usagef("rewrite NAME [src=ADDRESS:PORT] [dst=ADDRESS:PORT], after hold NAME")
	}
	o, err := options(args[1:], "src", "dst")
	if err != nil {
		return err
	}
	return s.eachHeld(args[0], func(held *witness.Packet) error {
		p, err := packet.Parse(held.Payload)
		if err != nil {
			return err
		}
		for key, set := range map[string]func(netip.AddrPort){"src": p.SetSrc, "dst": p.SetDst} {
			if o[key] == "" {
				continue
			}
			to, err := netip.ParseAddrPort(o[key])
			if err != nil {
				return usagef("%s=%s: want ADDRESS:PORT", key, o[key])
			}
			set(to)
		}
		return held.Rewrite(p.Bytes())
	})
}

// eachHeld decides about every packet of a hold, in the order in which they came, and ends the hold.
func (s *stage) eachHeld(name string, decide func(*witness.Packet) error) error {
	h := s.holds[name]
	if h == nil {
		return usagef("nothing is held by the name %q", name)
	}
	delete(s.holds, name)
	held, err := h.Wait(s.ctx, 0)
	for _, p := range held {
		err = errors.Join(err, decide(p))
	}
	return errors.Join(err, h.Release())
}
