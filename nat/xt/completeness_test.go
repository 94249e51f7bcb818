package xt_test

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// Every row has all that makes an extension: options, examples that come back as they are written, structs that hold what
// the options say, a text for iptables -L, and an answer for a packet or the reason why there is none.
func TestRowsAreComplete(t *testing.T) {
	t.Parallel()
	for _, x := range xt.Extensions() {
		for _, f := range familiesOf(x) {
			t.Run(x.Name+" "+f.String(), func(t *testing.T) {
				t.Parallel()
				require.NotNil(t, x.Parse, "Parse")
				require.True(t, len(x.Options) == 0 || len(x.Examples) > 0, "Examples")
				for _, o := range x.Options {
					require.True(t, strings.HasPrefix(o.Name, "--"), "option %q", o.Name)
				}
				examples := x.Examples
				if len(examples) == 0 {
					examples = []string{""}
				}
				for _, example := range examples {
					if v, ok := parseExample(t, x, f, example); ok {
						checkText(t, v, f, example)
						checkListing(t, x, v, f)
						checkBytes(t, x, v, f)
						checkAnswer(t, x, v, f)
					}
				}
			})
		}
	}
}

// A name stands for one extension of its kind and family.
func TestRowsHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, f := range []nat.Family{nat.IPv4, nat.IPv6} {
		seen := map[string]string{}
		for _, x := range xt.Extensions() {
			if !x.Families.Has(f) {
				continue
			}
			for _, name := range append([]string{x.Name}, x.Aliases...) {
				key := name + string(rune('0'+x.Kind))
				require.Empty(t, seen[key], "%s of %s", name, f)
				seen[key] = x.Name
			}
		}
	}
}

func familiesOf(x *xt.Extension) (out []nat.Family) {
	for _, f := range []nat.Family{nat.IPv4, nat.IPv6} {
		if x.Families.Has(f) {
			out = append(out, f)
		}
	}
	return out
}

// parseExample reads an example; ok is false for one with an address of the other family.
func parseExample(t *testing.T, x *xt.Extension, f nat.Family, example string) (xt.Value, bool) {
	t.Helper()
	for word := range strings.FieldsSeq(strings.NewReplacer("/", " ", ",", " ", "-", " ", "[", " ", "]", " ").Replace(example)) {
		a, err := netip.ParseAddr(word)
		if p, isPort := netip.ParseAddrPort(word); isPort == nil {
			a, err = p.Addr(), nil
		}
		if err == nil && nat.FamilyOf(a) != f {
			return nil, false
		}
	}
	flag := " -m "
	if x.Kind == xt.TargetKind {
		flag = " -j "
	}
	r, err := iptables.ParseRule(strings.TrimSpace(x.Needs+flag+x.Name+" "+example), f)
	require.NoError(t, err, example)
	if x.Kind == xt.TargetKind {
		return r.Target, true
	}
	i := slices.IndexFunc(r.Matches, func(m xt.Match) bool {
		return m.Name() == x.Name || slices.Contains(x.Aliases, m.Name())
	})
	require.GreaterOrEqual(t, i, 0, example)
	return r.Matches[i], true
}

func checkText(t *testing.T, v xt.Value, f nat.Family, example string) {
	t.Helper()
	require.Equal(t, example, xt.Options(v, f))
	lister, ok := v.(xt.Lister)
	require.True(t, ok, "List")
	p := xt.NewPrinter(nil, f)
	lister.List(p)
	require.NotContains(t, p.String(), "\n")
}

// checkListing reads back what List prints, where that is read at all.
func checkListing(t *testing.T, x *xt.Extension, v xt.Value, f nat.Family) {
	t.Helper()
	p := xt.NewPrinter(nil, f)
	v.(xt.Lister).List(p)
	if p.String() == "" {
		silent, ok := x.Silent(x.Name, f, protocolOf(x))
		require.True(t, ok)
		require.Equal(t, v, silent)
		return
	}
	require.NotNil(t, x.Listed, "Listed")
	for _, behind := range []string{"", " what comes next"} {
		l := xt.NewListing(p.String()+behind, f)
		l.Protocol = protocolOf(x)
		if m, ok := v.(xt.HashLimit); ok {
			l.Unnamed = m.Table // which is not printed
		}
		back, ok := x.ReadListed(l)
		require.True(t, ok, "Listed: %s", p)
		again := xt.NewPrinter(nil, f)
		back.(xt.Lister).List(again)
		require.Equal(t, p.String(), again.String(), "Listed: %s", p)
		if !slices.Contains(listedAlike, xt.Options(v, f)) {
			require.Equal(t, v, back, "Listed: %s", p)
		}
		require.Equal(t, strings.TrimSpace(behind), l.Rest(), "Listed: %s", p)
	}
	l := xt.NewListing("what comes next", f)
	_, ok := x.ReadListed(l)
	require.False(t, ok, "Listed takes what is not its own")
	require.Equal(t, "what comes next", l.Rest())
}

// protocolOf is the protocol that the extension's examples are used with, 0 for none.
func protocolOf(x *xt.Extension) nat.Proto {
	words := strings.Fields(x.Needs)
	if len(words) < 2 || words[0] != "-p" {
		return 0
	}
	p, _ := nat.ParseRuleProto(words[1])
	return p
}

// listedAlike are values of which iptables -L does not print all.
var listedAlike = []string{
	"--sport 0:65535", "--sport 0:65535 --dccp-option 255", // any port
	"! --genre Windows --ttl 2 --log 0", "! --quota 18446744073709551615",
}

func checkBytes(t *testing.T, x *xt.Extension, v xt.Value, f nat.Family) {
	t.Helper()
	env := &xt.Env{Family: f, SetNames: map[uint16]string{1: "one"}, SetIndex: map[string]uint16{"one": 1}}
	newest, ok := x.Written(f, xt.Newest)
	if len(x.Layouts) == 0 {
		return
	}
	require.True(t, ok, "a struct for %s", f)
	for _, l := range x.Layouts {
		if !l.Families.Has(f) {
			continue
		}
		d := make([]byte, xt.Padded(l.Size))
		err := l.Encode(v, d[:l.Size], env)
		if l.Revision == newest.Revision {
			require.NoError(t, err)
		}
		if err == nil { // an older struct cannot hold all
			back, ok := l.Decode(d[:l.Size], env)
			require.True(t, ok)
			require.Equal(t, v, back)
		}
	}
}

// checkAnswer holds a value against packets of TCP and of the protocols that it needs, in a world that knows everything.
func checkAnswer(t *testing.T, x *xt.Extension, v xt.Value, f nat.Family) {
	t.Helper()
	for _, proto := range append([]nat.Proto{nat.TCP}, x.Protocols...) {
		checkPacket(t, x, v, f, proto)
	}
}

func checkPacket(t *testing.T, x *xt.Extension, v xt.Value, f nat.Family, proto nat.Proto) {
	t.Helper()
	src, dst := "10.0.0.1:40000", "10.0.0.2:80"
	if f == nat.IPv6 {
		src, dst = "[fd00::1]:40000", "[fd00::2]:80"
	}
	tuple := nat.TupleOf(proto, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst))
	wire := packet.Build(tuple, packet.Fields{TCP: packet.TCP{Flags: 2}, Payload: make([]byte, 32)})
	visit := &rules.Visit{
		Packet: &rules.Packet{Tuple: tuple, TCPFlags: 2, TTL: 64, In: "eth0", Out: "eth1", State: rules.New, Wire: wire},
		World:  &world{conn: rules.Conn{Original: tuple, Reply: tuple.Reply(), Status: nat.Confirmed, Counted: true}}, Hook: nat.Forward,
	}
	switch v := v.(type) {
	case xt.Match:
		answer := v.Holds(visit)
		if x.Undecided == "" {
			require.NotEqual(t, rules.Unknown, answer, "%s: an answer, or Undecided", xt.Options(v, nat.IPv4))
		}
		if answer != rules.Yes {
			require.NotEmpty(t, v.Actual(visit))
		}
	case xt.Target:
		a := v.Act(visit)
		require.Equal(t, x.Undecided != "", a.Open != "", "Open and Undecided go together")
	}
}

// world knows all that a rule can ask.
type world struct {
	memory   rules.Memory
	conn     rules.Conn
	kernel   nat.Kernel
	addrType string // of every address; "" for "UNICAST"
}

func (w *world) AddrType(netip.Addr, string) string               { return cmp.Or(w.addrType, "UNICAST") }
func (*world) Take(p float64) bool                                { return p > 0 }
func (*world) Unknown(string) bool                                { return false }
func (w *world) Memory() *rules.Memory                            { return &w.memory }
func (*world) Now() time.Time                                     { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
func (*world) Back(*rules.Packet, rules.BackOptions) rules.Answer { return rules.Yes }
func (*world) AskSet(*rules.Packet, rules.SetQuery) rules.SetAnswer {
	return rules.SetAnswer{Answer: rules.Yes}
}
func (*world) ChangeSet(*rules.Packet, rules.SetChange)      {}
func (w *world) Conn() (rules.Conn, bool)                    { return w.conn, true }
func (w *world) Find(nat.Tuple, nat.Zone) (rules.Conn, bool) { return w.conn, true }
func (*world) PathMTU(*rules.Packet) (int, bool)             { return 1400, true }
func (*world) Ethernet(string) rules.Answer                  { return rules.Yes }
func (*world) Sender() string                                { return "42:01:02:03:04:05" }
func (*world) BridgePorts(*rules.Packet) (rules.BridgePorts, bool) {
	return rules.BridgePorts{In: "veth0"}, true
}
func (*world) QueueListens(uint16, uint16) rules.Answer { return rules.No }
func (*world) IPsec(*rules.Packet, bool) rules.Answer   { return rules.No }
func (w *world) Kernel() nat.Kernel                     { return w.kernel }
func (w *world) Clock() (time.Time, bool)               { return w.Now(), true }
