package ipset

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// ether is a world in which every packet came in an Ethernet frame.
type ether string

func (ether) Ethernet(dev string) rules.Answer { return rules.Is(dev == "lo", true) }
func (e ether) Sender() string                 { return string(e) }

// lines are sets, a line each where the text has a semicolon.
func lines(t *testing.T, text string) Sets {
	t.Helper()
	sets, err := Parse(strings.ReplaceAll(text, ";", "\n"))
	require.NoError(t, err)
	return sets
}

// query reads "NAME src,dst", with options of -m set.
func query(t *testing.T, text string) (q rules.SetQuery) {
	t.Helper()
	words := strings.Fields(text)
	q.Set = words[0]
	for dim := range strings.SplitSeq(words[1], ",") {
		if dim == "src" {
			q.Dims.Src |= 1 << q.Dims.Count
		}
		q.Dims.Count++
	}
	compare := map[string]rules.SetCompare{"eq": rules.SetEqual, "ne": rules.SetNotEqual, "lt": rules.SetLess, "gt": rules.SetGreater}
	for _, option := range words[2:] {
		switch option {
		case "nomatch":
			q.NoMatch = true
		case "keep":
			q.KeepCounters = true
		case "keepsub":
			q.KeepSubCounters = true
		default:
			n, err := strconv.ParseUint(option[3:], 10, 64)
			require.NoError(t, err)
			q.Packets = rules.SetCounter{Compare: compare[option[:2]], Value: n}
		}
	}
	return q
}

// at is a packet of a tuple as rules see it, "in out" its devices.
func at(t *testing.T, tuple, devices string) *rules.Packet {
	t.Helper()
	tup, err := nat.ParseTuple(tuple)
	require.NoError(t, err)
	fields := packet.Fields{}
	if p := tup.Proto(); p == nat.ICMP || p == nat.ICMPv6 {
		fields.Type = 8
	}
	wire := packet.Build(tup, fields)
	p := &rules.Packet{Tuple: tup, Wire: wire, ICMPType: fields.Type, Mark: 0x1ff}
	p.In, p.Out, _ = strings.Cut(devices, " ")
	return p
}

// What Linux 6.18 answered where it has the type, and what its source has for the others.
func TestAsk(t *testing.T) {
	t.Parallel()
	const u = "udp 127.0.0.1:8888 > 127.0.0.1:7777"
	for _, row := range []struct{ sets, packet, devices, query, want string }{
		{"create a hash:ip;add a 127.0.0.1", u, "lo", "a src", "yes"},
		{"create a hash:ip;add a 127.0.0.2", u, "lo", "a src", "no"},
		{"create a hash:ip", u, "lo", "a src", "no"},
		{"create a hash:ip", u, "lo", "b src", "unknown"},
		{"create a hash:new", u, "lo", "a src", "unknown"},
		{"create a hash:ip family inet6;add a ::1", u, "lo", "a src", "no"},
		{"create a hash:ip family inet6;add a ::1", "udp [::1]:8888 > [::1]:7777", "lo", "a src", "yes"},
		{"create a hash:ip netmask 24;add a 127.0.0.9", u, "lo", "a src,src", "yes"},
		{"create a hash:ip netmask 24;add a 127.0.0.9", u, "lo", "a src,src nomatch", "yes"},
		{"create a hash:ip netmask 1;add a 128.0.0.0", u, "lo", "a src", "no"},
		{"create a hash:ip bitmask 255.0.0.255;add a 127.9.9.1", u, "lo", "a src", "yes"},
		{"create a hash:ip;add a 127.0.0.0/30", u, "lo", "a src", "yes"},
		{"create a hash:ip;add a 127.0.0.2-127.0.0.9", u, "lo", "a src", "no"},
		{"create a hash:net;add a 127.0.0.0/8;add a 127.0.0.0/24 nomatch", u, "lo", "a src", "no"},
		{"create a hash:net;add a 127.0.0.0/8;add a 127.0.0.0/24 nomatch", u, "lo", "a src nomatch", "yes"},
		{"create a hash:net;add a 127.0.0.0/8;add a 127.0.1.0/24 nomatch", u, "lo", "a src", "yes"},
		{"create a hash:net;add a 127.0.0.0/8", u, "lo", "a src nomatch", "no"},
		{"create a hash:net;add a 0.0.0.0/1;add a 128.0.0.0/1", "udp 200.0.0.1:1 > 1.1.1.1:1", "lo", "a src", "yes"},
		{"create a hash:net;add a 127.0.0.2-127.0.0.9", u, "lo", "a src", "no"},
		{"create a hash:net family inet6;add a 2001:db8::/33", "udp [2001:db8:8000::1]:1 > [::1]:1", "lo", "a src", "no"},
		{"create a hash:net family inet6;add a 2001:db8::/33", "udp [2001:db8:7fff::1]:1 > [::1]:1", "lo", "a src", "yes"},
		{"create a hash:ip,port;add a 127.0.0.1,udp:7777", u, "lo", "a dst,dst", "yes"},
		{"create a hash:ip,port;add a 127.0.0.1,udp:7777", u, "lo", "a src,dst", "yes"},
		{"create a hash:ip,port;add a 127.0.0.1,udp:7777", u, "lo", "a dst,src", "no"},
		{"create a hash:ip,port;add a 127.0.0.1,udp:7777", u, "lo", "a dst", "no"},
		{"create a hash:ip,port;add a 127.0.0.1,7777", u, "lo", "a dst,dst", "no"},
		{"create a hash:ip,port;add a 127.0.0.1,17:7770-7780", u, "lo", "a dst,dst", "yes"},
		{"create a hash:ip,port;add a 10.0.0.1,icmp:echo-request", "icmp 10.0.0.1:1 > 10.0.0.2:1", "lo", "a src,dst", "yes"},
		{"create a hash:ip,port;add a 10.0.0.1,icmp:8/1", "icmp 10.0.0.1:1 > 10.0.0.2:1", "lo", "a src,dst", "no"},
		{"create a hash:ip,port;add a 10.0.0.1,gre:0", "gre 10.0.0.1 > 10.0.0.2", "lo", "a src,dst", "yes"},
		{"create a hash:net,port;add a 127.0.0.0/8,udp:7777;add a 127.0.0.0/16,udp:7777 nomatch", u, "lo", "a dst,dst", "no"},
		{"create a hash:net,port;add a 127.0.0.0/8,udp:7777", u, "lo", "a dst,dst", "yes"},
		{"create a hash:ip,port,ip;add a 127.0.0.1,udp:7777,127.0.0.1", u, "lo", "a dst,dst,src", "yes"},
		{"create a hash:ip,port,net;add a 127.0.0.1,udp:7777,127.0.0.0/8", u, "lo", "a dst,dst,src", "yes"},
		{"create a hash:ip,port,net;add a 127.0.0.1,udp:7777,10.0.0.0/8", u, "lo", "a dst,dst,src", "no"},
		{"create a hash:net,net;add a 10.0.0.0/8,11.0.0.0/8;add a 10.0.0.0/8,11.1.0.0/16 nomatch", "udp 10.0.0.1:1 > 11.2.0.1:1", "lo", "a src,dst", "yes"},
		{"create a hash:net,net;add a 10.0.0.0/8,11.0.0.0/8;add a 10.0.0.0/8,11.1.0.0/16 nomatch", "udp 10.0.0.1:1 > 11.1.0.1:1", "lo", "a src,dst", "no"},
		{"create a hash:net,port,net;add a 10.0.0.0/8,udp:1,11.0.0.0/8", "udp 10.0.0.1:2 > 11.2.0.1:1", "lo", "a src,dst,dst", "yes"},
		{"create a hash:net,iface;add a 0.0.0.0/0,lo", u, "lo", "a src,src", "yes"},
		{"create a hash:net,iface;add a 0.0.0.0/0,lo", u, "lo", "a src,dst", "no"},
		{"create a hash:net,iface;add a 0.0.0.0/0,lo", u, "eth0 lo", "a src,dst", "yes"},
		{"create a hash:net,iface;add a 127.0.0.0/8,eth1;add a 0.0.0.0/1,lo", u, "lo", "a src,src", "no"},
		{"create a hash:net,iface;add a 127.0.0.0/8,lo;add a 127.0.0.0/16,eth9", u, "lo", "a src,src", "no"},
		{"create a hash:net,iface;add a 127.0.0.0/8,eth1;add a 127.0.0.0/8,lo", u, "lo", "a src,src", "yes"},
		{"create a hash:net,iface;add a 0.0.0.0/1,l wildcard", u, "lo", "a src,src", "yes"},
		{"create a hash:net,iface;add a 127.0.0.0/8,physdev:lo;add a 0.0.0.0/1,lo", u, "lo", "a src,src", "yes"},
		{"create a hash:net,iface;add a 127.0.0.0/8,physdev:lo", u, "lo", "a src,src", "no"},
		{"create a hash:net,iface;add a 127.0.0.0/8,lo nomatch;add a 0.0.0.0/1,lo", u, "lo", "a src,src", "no"},
		{"create a hash:net,iface;add a 127.0.0.0/8,lo nomatch;add a 0.0.0.0/1,lo", u, "lo", "a src,src nomatch", "yes"},
		{"create a hash:mac;add a 02:00:00:00:00:01", u, "eth0", "a src", "yes"},
		{"create a hash:mac;add a 02:00:00:00:00:02", u, "eth0", "a src", "no"},
		{"create a hash:mac;add a 02:00:00:00:00:01", u, "lo", "a src", "no"},
		{"create a hash:mac;add a 02:00:00:00:00:01", u, "eth0", "a dst", "unknown"},
		{"create a hash:mac", u, "eth0", "a dst", "no"},
		{"create a hash:ip,mac;add a 127.0.0.1,2:0:0:0:0:1", u, "eth0", "a src,src", "yes"},
		{"create a hash:ip,mark;add a 127.0.0.1,0x1ff", u, "lo", "a src,src", "yes"},
		{"create a hash:ip,mark markmask 0xff;add a 127.0.0.1,0xff", u, "lo", "a src,src", "yes"},
		{"create a hash:ip,mark markmask 0xff;add a 127.0.0.1,0xfe", u, "lo", "a src,src", "no"},
		{"create a bitmap:ip range 127.0.0.0/16 netmask 28;add a 127.0.0.1", u, "lo", "a src", "yes"},
		{"create a bitmap:ip range 127.0.0.0-127.0.0.5;add a 127.0.0.1", "udp 127.0.0.6:1 > 127.0.0.1:1", "lo", "a src", "no"},
		{"create a bitmap:port range 0-65535;add a 7777", u, "lo", "a dst,dst", "yes"},
		{"create a bitmap:port range 0-65535;add a 7777", u, "lo", "a src", "no"},
		{"create a bitmap:port range 1-10;add a 7", u, "lo", "a dst", "no"},
		{"create a bitmap:port range 1-9000;add a 7777", "udp [::1]:1 > [::1]:7777", "lo", "a dst", "yes"},
		{"create a bitmap:port range 0-65535;add a 7777", "sctp 10.0.0.1:1 > 10.0.0.2:7777", "lo", "a dst", "no"},
		{"create a bitmap:ip,mac range 127.0.0.0/24;add a 127.0.0.1", u, "lo", "a src,src", "no"},
		{"create a bitmap:ip,mac range 127.0.0.0/24;add a 127.0.0.1", u, "eth0", "a src,src", "yes"},
		{"create a bitmap:ip,mac range 127.0.0.0/24;add a 127.0.0.1,02:00:00:00:00:01", u, "eth0", "a src,src", "yes"},
		{"create a bitmap:ip,mac range 127.0.0.0/24;add a 127.0.0.1,02:00:00:00:00:02", u, "eth0", "a src,src", "no"},
		{"create a hash:ip;add a 127.0.0.1", u, "lo", "a src gt:100", "yes"},
		{"create a hash:ip counters;add a 127.0.0.1 packets 10", u, "lo", "a src gt:100", "no"},
		{"create a hash:ip counters;add a 127.0.0.1 packets 10", u, "lo", "a src eq:11", "yes"},
		{"create a hash:ip counters;add a 127.0.0.1 packets 10", u, "lo", "a src eq:10 keep", "yes"},
		{"create a hash:ip counters;add a 127.0.0.1 packets 10", u, "lo", "a src ne:11", "no"},
		{"create a hash:net counters;add a 127.0.0.0/8 packets 10;add a 127.0.0.0/16", u, "lo", "a src gt:5", "yes"},
		{"create n hash:net;add n 10.0.0.0/8;create i hash:ip;add i 127.0.0.1;create a list:set;add a n;add a i", u, "lo", "a src", "yes"},
		{"create n hash:net;add n 10.0.0.0/8;create a list:set;add a n", u, "lo", "a src", "no"},
		{"create n hash:new;create i hash:ip;add i 127.0.0.1;create a list:set;add a n;add a i", u, "lo", "a src", "yes"},
		{"create n hash:new;create i hash:ip;create a list:set;add a n;add a i", u, "lo", "a src", "unknown"},
		{"create p hash:ip,port;add p 127.0.0.1,udp:7777;create a list:set;add a p", u, "lo", "a dst", "no"},
		{"create p hash:ip,port;add p 127.0.0.1,udp:7777;create a list:set;add a p", u, "lo", "a dst,dst", "yes"},
		{"create i hash:ip;add i 127.0.0.1;create a list:set counters;add a i packets 3", u, "lo", "a src eq:4", "yes"},
		{"create i hash:ip counters;add i 127.0.0.1;create a list:set;add a i", u, "lo", "a src gt:100", "yes"},
		{"create a hash:ip timeout 9;add a 127.0.0.1 timeout 3", u, "lo", "a src", "yes"},
	} {
		t.Run(row.sets+" "+row.query, func(t *testing.T) {
			t.Parallel()
			s := NewState(lines(t, row.sets), time.Unix(0, 0))
			answer := s.Ask(at(t, row.packet, row.devices), ether("02:00:00:00:00:01"), query(t, row.query), time.Unix(2, 0))
			require.Equal(t, row.want, answer.String())
		})
	}
}

// Fragments but the first have no ports, and a header that is cut short has none.
func TestAskForPortsOfAnOddPacket(t *testing.T) {
	t.Parallel()
	s := NewState(lines(t, "create a hash:ip,port;add a 127.0.0.1,tcp:7777;add a 127.0.0.1,gre:0"), time.Time{})
	p := at(t, "tcp 127.0.0.1:1 > 127.0.0.1:7777", "lo")
	ask := func() string { return s.Ask(p, nil, query(t, "a dst,dst"), time.Time{}).String() }
	require.Equal(t, "yes", ask())
	cut := p.Wire.Bytes()[:20+19]
	cut[3] = 20 + 19
	short, err := packet.Parse(cut)
	require.NoError(t, err)
	p.Wire = &short
	require.Equal(t, "no", ask())
	p.Wire, p.Later = nil, true
	require.Equal(t, "no", ask())
	p.Later = false
	require.Equal(t, "yes", ask())
}

// The time of members goes on, and counters count where they are asked for.
func TestStateRemembers(t *testing.T) {
	t.Parallel()
	sets := lines(t, "create a hash:ip timeout 9 counters;add a 127.0.0.1 timeout 3 packets 1;add a 127.0.0.2 timeout 0")
	s := NewState(sets, time.Unix(0, 0))
	ask := func(src, q string, second int64) string {
		return s.Ask(at(t, "udp "+src+":1 > 127.0.0.1:2", "lo"), nil, query(t, q), time.Unix(second, 0)).String()
	}
	require.Equal(t, "yes", ask("127.0.0.1", "a src eq:2", 0))
	require.Equal(t, "yes", ask("127.0.0.1", "a src eq:2 keep", 0))
	require.Equal(t, "no", ask("127.0.0.1", "a src eq:2", 2))
	require.Equal(t, "no", ask("127.0.0.1", "a src", 3))
	require.Equal(t, "yes", ask("127.0.0.2", "a src", 1e6))
	require.Equal(t, uint64(1), sets["a"].find(keyIn(t, sets["a"], "127.0.0.1"))[0].packets, "the sets as they were read stay so")
	still := Still(sets, time.Unix(0, 0))
	require.Equal(t, rules.Unknown, still.Ask(at(t, "udp 127.0.0.1:1 > 127.0.0.1:2", "lo"), nil, query(t, "a src eq:2"), time.Unix(0, 0)).Answer)
	require.Equal(t, rules.Yes, still.Ask(at(t, "udp 127.0.0.1:1 > 127.0.0.1:2", "lo"), nil, query(t, "a src"), time.Unix(0, 0)).Answer)
}

func keyIn(t *testing.T, s *Set, entry string) key {
	t.Helper()
	keys, err := s.entries(entry, &member{})
	require.NoError(t, err)
	require.Len(t, keys, 1)
	return keys[0]
}

// What SET does, as xt_set and the types of sets have it.
func TestChange(t *testing.T) {
	t.Parallel()
	hour := time.Hour
	for _, row := range []struct {
		name, sets, changes string
		timeout             *time.Duration
		query               string
		after               int64
		want                string
	}{
		{"added", "create a hash:ip", "+a src", nil, "a src", 0, "yes"},
		{"the other side is added", "create a hash:ip", "+a dst", nil, "a src", 0, "no"},
		{"deleted", "create a hash:ip;add a 10.0.0.1", "-a src", nil, "a src", 0, "no"},
		{"deleted and added", "create a hash:ip;add a 10.0.0.1", "-a src +a src", nil, "a src", 0, "yes"},
		{"too few dimensions", "create a hash:ip,port", "+a src", nil, "a src,dst", 0, "no"},
		{"a port", "create a hash:ip,port", "+a src,dst", nil, "a src,dst", 0, "yes"},
		{"the set's timeout", "create a hash:ip timeout 5", "+a src", nil, "a src", 4, "yes"},
		{"the set's timeout is over", "create a hash:ip timeout 5", "+a src", nil, "a src", 5, "no"},
		{"a timeout", "create a hash:ip timeout 5", "+a src", &hour, "a src", 3599, "yes"},
		{"a set without timeouts", "create a hash:ip", "+a src", &hour, "a src", 3601, "yes"},
		{"what is there stays", "create a hash:ip timeout 5;add a 10.0.0.1", "+a src", &hour, "a src", 5, "no"},
		{"what is there is set anew", "create a hash:ip timeout 5;add a 10.0.0.1", "!a src", &hour, "a src", 5, "yes"},
		{"no longer marked nomatch", "create a hash:net;add a 10.0.0.1/32 nomatch", "!a src", nil, "a src", 0, "yes"},
		{"a network as long as the longest", "create a hash:net;add a 11.0.0.0/24", "+a src", nil, "a dst", 0, "yes"},
		{"an address where there is none", "create a hash:net", "+a src", nil, "a dst", 0, "no"},
		{"deleted as long as the longest", "create a hash:net;add a 10.0.0.0/8;add a 11.0.0.0/24", "-a src", nil, "a src", 0, "yes"},
		{"full", "create a hash:ip maxelem 1;add a 10.0.0.9", "+a src", nil, "a src", 0, "no"},
		{"full of what has timed out", "create a hash:ip maxelem 1 timeout 5;add a 10.0.0.9", "+a src", nil, "a src", 0, "no"},
		{"full and forced", "create a hash:ip maxelem 1 forceadd;add a 10.0.0.9", "+a src", nil, "a src", 0, "unknown"},
		{"out of range", "create a bitmap:ip range 11.0.0.0/24", "+a src", nil, "a src", 0, "no"},
		{"a bitmap", "create a bitmap:port range 1-9", "+a dst", nil, "a dst", 0, "yes"},
		{"a device", "create a hash:net,iface", "+a src,src", nil, "a src,src", 0, "yes"},
		{"a device is deleted", "create a hash:net,iface;add a 10.0.0.1,eth0;add a 10.0.0.1,eth1", "-a src,src", nil, "a src,src", 0, "no"},
		{"a list adds to the first", "create i hash:ip;create n hash:net;create a list:set;add a i;add a n", "+a src", nil, "n src", 0, "no"},
		{"or to the next if it is there", "create i hash:ip;add i 10.0.0.1;create n hash:net;create a list:set;add a i;add a n", "+a src", nil, "n src", 0, "yes"},
		{"a list deletes from the first", "create i hash:ip;create n hash:net;add n 10.0.0.1;create a list:set;add a i;add a n", "-a src", nil, "a src", 0, "no"},
		{"a MAC", "create a hash:mac", "+a src", nil, "a src", 0, "yes"},
		{"a MAC nobody knows", "create a hash:mac", "+a dst", nil, "a src", 0, "unknown"},
		{"a set nobody knows", "create b hash:ip", "+a src", nil, "a src", 0, "unknown"},
	} {
		for _, begin := range map[string]func(Sets, time.Time) *State{"own": NewState, "still": Still} {
			sets := lines(t, row.sets)
			s := begin(sets, time.Unix(0, 0))
			p := at(t, "tcp 10.0.0.1:1 > 10.0.0.2:2", "eth0")
			linked := ether("02:00:00:00:00:01")
			for words := strings.Fields(row.changes); len(words) > 0; words = words[2:] {
				q := query(t, words[0][1:]+" "+words[1])
				s = s.Change(p, linked, rules.SetChange{
					Set: q.Set, Dims: q.Dims, Delete: words[0][0] == '-', Exist: words[0][0] == '!', Timeout: row.timeout,
				}, time.Unix(0, 0))
			}
			got := s.Ask(p, linked, query(t, row.query), time.Unix(row.after, 0))
			require.Equal(t, row.want, got.String(), row.name)
			require.Equal(t, lines(t, row.sets), sets, row.name)
		}
	}
}

// A set of which nothing is known is another one after each change; a full one has room for others when its members' time is
// over.
func TestChangeTwice(t *testing.T) {
	t.Parallel()
	p := at(t, "tcp 10.0.0.1:1 > 10.0.0.2:2", "eth0")
	q := query(t, "a src")
	change := rules.SetChange{Set: "a", Dims: q.Dims}
	s := Still(nil, time.Time{})
	require.Equal(t, 0, s.Ask(p, nil, q, time.Time{}).Changed)
	once := s.Change(p, nil, change, time.Time{})
	require.Equal(t, 2, once.Change(p, nil, change, time.Time{}).Ask(p, nil, q, time.Time{}).Changed)
	require.Equal(t, 1, once.Ask(p, nil, q, time.Time{}).Changed)
	full := NewState(lines(t, "create a hash:ip maxelem 2 timeout 5;add a 10.0.0.8;add a 10.0.0.9 timeout 7"), time.Unix(0, 0))
	full.Change(p, nil, change, time.Unix(6, 0))
	require.Equal(t, rules.Yes, full.Ask(p, nil, q, time.Unix(6, 0)).Answer)
	require.Equal(t, 2, full.sets["a"].count)
}

// A member has marks for packets; one of a list:set has them in place of those of the set.
func TestInfo(t *testing.T) {
	t.Parallel()
	const info = "create i hash:ip skbinfo;add i 10.0.0.1 skbmark 0x10/0xf0 skbprio 1:2 skbqueue 3;"
	p := at(t, "tcp 10.0.0.1:1 > 10.0.0.2:2", "eth0")
	want := rules.SetInfo{Mark: 0x10, MarkMask: 0xf0, Priority: 1<<16 | 2, Queue: 3}
	for text, want := range map[string]rules.SetInfo{
		info + "create a hash:ip": want, info + "create a list:set;add a i": want,
		info + "create a list:set skbinfo;add a i skbmark 7": {Mark: 7, MarkMask: 0xffffffff},
	} {
		q := query(t, "a src")
		if strings.HasSuffix(text, "hash:ip") {
			q = query(t, "i src")
		}
		q.Info = true
		answer := Still(lines(t, text), time.Time{}).Ask(p, nil, q, time.Time{})
		require.Equal(t, rules.SetAnswer{Answer: rules.Yes, Info: want}, answer, text)
	}
}
