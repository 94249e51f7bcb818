package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab/dataplane"
	"natlab/nat"
)

// connKeys are what an entry can be asked for. Ends are ADDRESS, ADDRESS:PORT or :PORT.
var connKeys = []string{"proto", "src", "dst", "reply-src", "reply-dst", "status", "not"}

// doConntrack: conntrack NODE [KEY=VALUE]... waits until the node has an entry that fits; ! conntrack holds if it has
// none now. status= and not= name bits, joined by "|", that have to be set and not set.
func doConntrack(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if len(args) == 0 {
		return usagef("conntrack NODE [%s=...]", strings.Join(connKeys, "=...] ["))
	}
	fits, err := connMatch(args[1:])
	if err != nil {
		return err
	}
	var all []nat.Conn
	return s.await(not, func() (bool, string, error) {
		if all, err = s.lab.Conns(args[0]); err != nil {
			return false, "", err
		}
		var text strings.Builder
		for _, c := range all {
			if fits(c) {
				ts.Logf("%s: %s = %s %s", args[0], c.Original, c.Reply, c.Status)
				return true, "", nil
			}
			fmt.Fprintf(&text, "\n  %s = %s %s", c.Original, c.Reply, c.Status)
		}
		return false, fmt.Sprintf("no entry in %s fits %s; there are:%s", args[0], strings.Join(args[1:], " "), text.String()), nil
	})
}

// await waits until a condition holds. With not it has to be false once no packet is under way any more; see settle.
func (s *stage) await(not bool, holds func() (ok bool, why string, err error)) error {
	if not {
		if err := s.settle(s.ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	for {
		ok, why, err := holds()
		switch {
		case err != nil:
			return err
		case not && ok:
			return fmt.Errorf("is there, and must not be")
		case not || ok:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s", why)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// connMatch makes a test of KEY=VALUE arguments.
func connMatch(args []string) (func(nat.Conn) bool, error) {
	o, err := options(args, connKeys...)
	if err != nil {
		return nil, err
	}
	ends := map[string]func(netip.AddrPort) bool{}
	for _, k := range []string{"src", "dst", "reply-src", "reply-dst"} {
		if ends[k], err = endMatch(o[k]); err != nil {
			return nil, err
		}
	}
	var with, without nat.Status
	for text, to := range map[string]*nat.Status{o["status"]: &with, o["not"]: &without} {
		if err := to.UnmarshalText([]byte(text)); err != nil {
			return nil, err
		}
		if text != "" && *to == 0 {
			return nil, usagef("%q names no status bit", text)
		}
	}
	return func(c nat.Conn) bool {
		return (o["proto"] == "" || o["proto"] == c.Original.Proto().String()) &&
			ends["src"](c.Original.Src()) && ends["dst"](c.Original.Dst()) && ends["reply-src"](c.Reply.Src()) && ends["reply-dst"](c.Reply.Dst()) &&
			c.Status&with == with && c.Status&without == 0
	}, nil
}

// endMatch is a test for ADDRESS, ADDRESS:PORT or :PORT; "" holds for all.
func endMatch(text string) (func(netip.AddrPort) bool, error) {
	if text == "" {
		return func(netip.AddrPort) bool { return true }, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return func(e netip.AddrPort) bool { return e.Addr() == a }, nil
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return func(e netip.AddrPort) bool { return e == ap }, nil
	}
	if port, ok := strings.CutPrefix(text, ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			return func(e netip.AddrPort) bool { return e.Port() == uint16(n) }, nil
		}
	}
	return nil, usagef("%q: want ADDRESS, ADDRESS:PORT or :PORT", text)
}

// doFlush: flush NODE [KEY=VALUE]... deletes entries, as conntrack -D does; at least one has to fit.
func doFlush(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if not || len(args) == 0 {
		return usagef("flush NODE [%s=...]", strings.Join(connKeys, "=...] ["))
	}
	fits, err := connMatch(args[1:])
	if err != nil {
		return err
	}
	n, err := s.lab.ForgetConns(args[0], fits)
	if err != nil {
		return err
	}
	ts.Logf("%s: %d entries deleted", args[0], n)
	if n == 0 {
		return fmt.Errorf("no entry of %s fits %s", args[0], strings.Join(args[1:], " "))
	}
	return nil
}

// doStat: stat NODE NAME [N] holds if a connection tracking statistic (InsertFailed, Drop, ClashResolve, Invalid, ...)
// grew by N or more, 1 by default, since the lab came up or since "stat NODE reset"; ! stat if it did not grow.
func doStat(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if len(args) == 2 && args[1] == "reset" && !not {
		now, err := s.counts.Stats(s.ctx, args[0])
		s.base[args[0]] = now
		return err
	}
	least, err := atLeast(args, "stat NODE NAME [N], or stat NODE reset")
	if err != nil {
		return err
	}
	return s.await(not, func() (bool, string, error) {
		now, err := s.counts.Stats(s.ctx, args[0])
		if err != nil {
			return false, "", err
		}
		grown := now.Sub(s.base[args[0]])
		field := reflect.ValueOf(grown).FieldByName(args[1])
		if !field.IsValid() {
			return false, "", usagef("statistic %q: want one of %+v", args[1], grown)
		}
		return field.Uint() >= least, fmt.Sprintf("want %s of %s to grow by %d, got %+v", args[1], args[0], least, grown), nil
	})
}

func atLeast(args []string, usage string) (uint64, error) {
	if len(args) == 2 {
		return 1, nil
	}
	if len(args) == 3 {
		if n, err := strconv.ParseUint(args[2], 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, usagef("%s", usage)
}

// doNetstat: netstat MEMBER NAME [N] holds if a counter of /proc/net/netstat or snmp (IPReversePathFilter, InAddrErrors,
// FragFails, ...) is N or more; ! netstat if it is 0.
func doNetstat(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	least, err := atLeast(args, "netstat MEMBER NAME [N]")
	if err != nil {
		return err
	}
	h, err := s.lab.Handle(args[0])
	if err != nil {
		return err
	}
	return s.await(not, func() (bool, string, error) {
		var text []byte
		err := h.Do(func() error {
			for _, file := range []string{"netstat", "snmp", "snmp6"} {
				b, err := os.ReadFile("/proc/thread-self/net/" + file)
				if err != nil {
					return err
				}
				text = append(text, b...)
			}
			return nil
		})
		if err != nil {
			return false, "", err
		}
		n, ok := s.netCounter(string(text), args[1])
		if !ok {
			return false, "", usagef("no counter %q", args[1])
		}
		return n >= least, fmt.Sprintf("want %s of %s to be %d or more, got %d", args[1], args[0], least, n), nil
	})
}

// netCounter finds a counter of the lab's family: IPv6 has some of its own, a line each.
func (s *stage) netCounter(text, name string) (uint64, bool) {
	if s.family() == nat.IPv6 {
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "Ip6"+name {
				n, err := strconv.ParseUint(f[1], 10, 64)
				return n, err == nil
			}
		}
	}
	return netCounter(text, name)
}

// netCounter finds a counter in pairs of lines: names, then values.
func netCounter(text, name string) (uint64, bool) {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if names == nil {
			names = f
			continue
		}
		for i := range min(len(names), len(f)) {
			if names[i] == name {
				n, err := strconv.ParseUint(f[i], 10, 64)
				return n, err == nil
			}
		}
		names = nil
	}
	return 0, false
}

// doCounter: counter NODE TABLE TEXT [N] holds if rules whose text contains TEXT counted N or more packets together, 1
// by default; ! counter if they counted none. At least one rule has to contain it.
func doCounter(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if len(args) < 3 {
		return usagef("counter NODE TABLE TEXT [N]")
	}
	least, err := atLeast(append([]string{args[0]}, args[2:]...), "counter NODE TABLE TEXT [N]")
	if err != nil {
		return err
	}
	h, err := s.lab.Handle(args[0])
	if err != nil {
		return err
	}
	return s.await(not, func() (bool, string, error) {
		all, err := dataplane.DumpAll(s.ctx, h, s.family())
		if err != nil {
			return false, "", err
		}
		var packets uint64
		rules := 0
		for _, installed := range all {
			t, _ := installed.Rules.Table(args[1])
			for _, c := range t.Chains {
				for _, r := range c.Rules {
					if strings.Contains(r.Text(c.Name), args[2]) {
						rules++
						packets += r.Packets
					}
				}
			}
		}
		if rules == 0 {
			return false, "", fmt.Errorf("no rule of table %s in %s contains %q", args[1], args[0], args[2])
		}
		return packets >= least, fmt.Sprintf("want %d packets at rules of %s with %q, got %d at %d rules", least, args[0], args[2], packets, rules), nil
	})
}
