package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
)

// twinSets are the sets that both sides have before the first packet, as ipset save prints them; some of them are for rules to change.
const twinSets = `create hosts hash:ip family inet counters
add hosts 192.168.1.10
add hosts 10.0.0.20
add hosts 10.96.0.1
create nets hash:net family inet
add nets 192.168.1.0/24
add nets 192.168.1.10/32 nomatch
add nets 10.0.0.0/16
add nets 10.0.0.0/24 nomatch
add nets 10.0.0.20/32
create services hash:ip,port family inet counters
add services 10.96.0.1,tcp:80
add services 10.96.0.1,udp:53
add services 192.168.1.1,tcp:30080
add services 10.0.0.20,sctp:443
add services 10.0.0.20,udplite:80
add services 10.0.0.20,icmp:8/0
add services 10.0.0.20,gre:0
create pairs hash:ip,port,ip family inet
add pairs 192.168.1.10,tcp:80,10.96.0.1
add pairs 10.244.0.5,udp:443,10.0.0.20
create ways hash:ip,port,net family inet
add ways 192.168.1.10,tcp:80,10.0.0.0/8
add ways 192.168.1.10,tcp:80,10.0.0.20/32 nomatch
add ways 10.244.0.5,udp:80,192.168.1.0/24
create netports hash:net,port family inet
add netports 10.0.0.0/8,tcp:80
add netports 10.96.0.0/16,tcp:80 nomatch
add netports 10.244.0.0/24,udp:53
create links hash:net,iface family inet
add links 192.168.1.0/24,in0
add links 192.168.1.10/32,in0 nomatch
add links 10.244.0.0/16,pod0
add links 10.0.0.0/24,in0
add links 10.0.0.0/16,out0
create numbers bitmap:port range 1-2000
add numbers 80
add numbers 443
create marks hash:net family inet skbinfo
add marks 192.168.1.0/24 skbmark 0x4000/0x4000
add marks 10.244.0.5/32 skbmark 0x1/0xff
create several list:set size 8
add several nets
add several hosts
create none hash:ip family inet
create learnt hash:ip family inet counters
create learntports hash:ip,port family inet
create learntpairs hash:ip,port,ip family inet
create learntnets hash:net family inet
add learntnets 10.99.0.0/24
create learntways hash:ip,port,net family inet
add learntways 192.168.1.10,udp:9,10.99.0.0/24
create learntlinks hash:net,iface family inet
create learntnumbers bitmap:port range 1-2000
create learntlist list:set size 8
add learntlist learnt
add learntlist learntnets
create brief hash:ip family inet timeout 600
`

// blockSets are those of IPv4 alone.
const blockSets = `create block bitmap:ip range 10.0.0.0-10.0.0.255
add block 10.0.0.20
create learntblock bitmap:ip range 192.168.1.0-192.168.1.255 counters
`

// setsIn is the text of a family's sets.
func setsIn(family nat.Family) string {
	if family == nat.IPv4 {
		return twinSets + blockSets
	}
	return strings.NewReplacer("family inet", "family inet6", "icmp:8/0", "icmpv6:128/0").Replace(textIn(family, twinSets))
}

// setDims are the ways in which rules ask the sets, by set.
var setDims = map[string][]string{
	"hosts": {"src", "dst", "src,dst"}, "nets": {"src", "dst"}, "services": {"dst,dst", "src,src", "dst,src"}, "pairs": {"src,dst,dst", "src,src,dst"},
	"ways": {"src,dst,dst", "dst,src,src"}, "netports": {"dst,dst", "src,src"}, "links": {"src,src", "dst,dst", "src,dst"}, "numbers": {"dst", "src"},
	"marks": {"src", "dst"}, "several": {"src", "dst"}, "none": {"src"}, "learnt": {"src", "dst"}, "learntports": {"src,dst", "dst,dst"},
	"learntpairs": {"src,dst,dst", "dst,src,src"}, "learntnets": {"src", "dst"}, "learntways": {"src,dst,dst", "dst,src,src"}, "learntlinks": {"src,src", "dst,dst"}, "learntnumbers": {"src", "dst"},
	"learntlist": {"src", "dst"}, "brief": {"src"}, "block": {"src", "dst"}, "learntblock": {"src", "dst"},
}

// set draws one of the sets whose name begins in a way, with how it is asked.
func (d drawn) set(begins string) string {
	names := slices.Sorted(maps.Keys(setDims))
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, begins) || d.family == nat.IPv6 && strings.HasSuffix(name, "block")
	})
	name := pick(d, names)
	return name + " " + pick(d, setDims[name])
}

// setMatch draws a question of a set.
func (d drawn) setMatch() string {
	of := d.set("")
	if d.chance(2) {
		of = d.set("learnt")
	}
	m := " -m set " + d.not() + "--match-set " + of
	switch d.n(8) {
	case 0:
		m += " --return-nomatch"
	case 1:
		m += " ! --update-counters"
	case 2:
		m += pick(d, []string{" --packets-gt 2", " --packets-lt 3", " ! --packets-eq 0", " --bytes-gt 100", " --packets-eq 1 --bytes-lt 60"})
	case 3:
		m += " ! --update-subcounters"
	}
	return m
}

// setTarget draws what a rule does to a set.
func (d drawn) setTarget(table string) string {
	switch kind := d.n(6); {
	case kind == 0 && table == "mangle":
		return " -j SET --map-set marks " + pick(d, setDims["marks"]) + " --map-mark"
	case kind == 1:
		return " -j SET --del-set " + d.set("")
	case kind == 2:
		return " -j SET --add-set " + d.set("learnt") + " --exist"
	case kind == 3:
		return " -j SET --add-set brief src" + pick(d, []string{"", " --timeout 1000", " --timeout 0"})
	}
	return " -j SET --add-set " + d.set("learnt")
}

// Numbers of linux/netfilter/ipset/ip_set.h.
const (
	setCreate, setFlush, setAdd = 2, 4, 9

	setAttrProtocol, setAttrName, setAttrType, setAttrRevision, setAttrFamily, setAttrData = 1, 2, 3, 4, 5, 7

	setIP, setIPTo, setCIDR, setPort, setPortTo, setTimeout, setProto, setFlags = 1, 2, 3, 4, 5, 6, 7, 8

	setMember, setIP2, setCIDR2, setSize, setDevice, setMark = 18, 20, 21, 23, 23, 27

	setNoMatch, setCounters, setInfo = 1 << 2, 1 << 3, 1 << 6
)

// setRevisions are revisions of the sets' types that all kernels have which have marks for packets.
var setRevisions = map[string]byte{
	"bitmap:ip": 3, "bitmap:port": 3, "hash:ip": 4, "hash:ip,port": 5, "hash:ip,port,ip": 5, "hash:ip,port,net": 7, "hash:net": 6, "hash:net,port": 7, "hash:net,iface": 6, "list:set": 3,
}

// makeSets creates the node's sets, in the namespace of this thread.
func (k *kernelNode) makeSets() error { return k.giveSets("create") }

// fillSets makes the sets' members those that they begin with.
func (k *kernelNode) fillSets() error {
	if err := k.tellSets(setFlush, nil); err != nil {
		return err
	}
	return k.giveSets("add")
}

// giveSets gives the kernel the lines of a command.
func (k *kernelNode) giveSets(command string) error {
	types := map[string]string{}
	for line := range strings.Lines(setsIn(k.family)) {
		w := strings.Fields(line)
		if w[0] == "create" {
			types[w[1]] = w[2]
		}
		if w[0] != command {
			continue
		}
		ask := attribute(setAttrName, []byte(w[1]+"\x00"))
		number := uint16(setAdd)
		if command == "create" {
			number = setCreate
			family := byte(unix.NFPROTO_IPV4)
			if k.family == nat.IPv6 {
				family = unix.NFPROTO_IPV6
			}
			if !strings.HasPrefix(w[2], "hash:") && w[2] != "bitmap:ip" {
				family = unix.NFPROTO_UNSPEC
			}
			ask = slices.Concat(ask, attribute(setAttrType, []byte(w[2]+"\x00")), attribute(setAttrRevision, []byte{setRevisions[w[2]]}), attribute(setAttrFamily, []byte{family}))
		}
		data := setOptions(w[3:])
		if command == "add" {
			data = slices.Concat(data, setEntry(types[w[1]], w[2]))
		}
		if err := k.tellSets(number, slices.Concat(ask, attribute(setAttrData|unix.NLA_F_NESTED, data))); err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
		}
	}
	return nil
}

// tellSets gives the kernel one command.
func (k *kernelNode) tellSets(command uint16, attributes []byte) error {
	err := sendNetfilter(k.ask, nat.IPv4, unix.NFNL_SUBSYS_IPSET<<8|command, unix.NLM_F_ACK|unix.NLM_F_CREATE, slices.Concat(attribute(setAttrProtocol, []byte{6}), attributes))
	if err != nil {
		return err
	}
	n, _, err := unix.Recvfrom(k.ask, k.buf, 0)
	if err != nil {
		return err
	}
	if n < 20 {
		return errors.New("ipset: a short answer")
	}
	if code := int32(binary.NativeEndian.Uint32(k.buf[16:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// inNet is an attribute in network order.
func inNet[T uint16 | uint32 | uint64](kind uint16, n T) []byte {
	b, _ := binary.Append(nil, binary.BigEndian, n)
	return attribute(kind|unix.NLA_F_NET_BYTEORDER, b)
}

// setAddr is an address as an attribute.
func setAddr(kind uint16, a netip.Addr) []byte {
	inner := uint16(1)
	if a.Is6() {
		inner = 2
	}
	return attribute(kind|unix.NLA_F_NESTED, attribute(inner|unix.NLA_F_NET_BYTEORDER, a.AsSlice()))
}

// setOptions are the options of create or add.
func setOptions(words []string) (data []byte) {
	var flags uint32
	for i, w := range words {
		var v string
		if i+1 < len(words) {
			v = words[i+1]
		}
		n, _ := strconv.ParseUint(v, 0, 32)
		switch w {
		case "counters":
			flags |= setCounters
		case "skbinfo":
			flags |= setInfo
		case "nomatch":
			flags |= setNoMatch
		case "timeout":
			data = append(data, inNet(setTimeout, uint32(n))...)
		case "size":
			data = append(data, inNet(setSize, uint32(n))...)
		case "skbmark":
			mark, mask, _ := strings.Cut(v, "/")
			high, _ := strconv.ParseUint(mark, 0, 32)
			low, _ := strconv.ParseUint(mask, 0, 32)
			data = append(data, inNet(setMark, high<<32|low)...)
		case "range":
			data = append(data, setRange(v)...)
		}
	}
	if flags != 0 {
		data = append(data, inNet(setFlags, flags)...)
	}
	return data
}

// setRange is the range of a bitmap, of ports or of addresses.
func setRange(text string) []byte {
	low, high, _ := strings.Cut(text, "-")
	first, err := strconv.ParseUint(low, 10, 16)
	if err != nil {
		return slices.Concat(setAddr(setIP, netip.MustParseAddr(low)), setAddr(setIPTo, netip.MustParseAddr(high)))
	}
	last, _ := strconv.ParseUint(high, 10, 16)
	return slices.Concat(inNet(setPort, uint16(first)), inNet(setPortTo, uint16(last)))
}

// setEntry is a member by its set's type.
func setEntry(kind, text string) (data []byte) {
	_, dimensions, _ := strings.Cut(kind, ":")
	addr, cidr := uint16(setIP), uint16(setCIDR)
	words := strings.Split(text, ",")
	for i, part := range strings.Split(dimensions, ",") {
		switch w := words[i]; part {
		case "ip":
			data = append(data, setAddr(addr, netip.MustParseAddr(w))...)
			addr, cidr = setIP2, setCIDR2
		case "net":
			p := netip.MustParsePrefix(w)
			data = slices.Concat(data, setAddr(addr, p.Addr()), attribute(cidr, []byte{byte(p.Bits())}))
			addr, cidr = setIP2, setCIDR2
		case "port":
			proto, number, named := strings.Cut(w, ":")
			if !named {
				number = proto
			} else if p, err := nat.ParseProto(proto); err == nil {
				data = append(data, attribute(setProto, []byte{byte(p)})...)
			}
			kind, code, icmp := strings.Cut(number, "/")
			n, _ := strconv.ParseUint(kind, 10, 16)
			if low, _ := strconv.ParseUint(code, 10, 8); icmp {
				n = n<<8 | low
			}
			data = append(data, inNet(setPort, uint16(n))...)
		case "iface":
			data = append(data, attribute(setDevice, []byte(w+"\x00"))...)
		case "set":
			data = append(data, attribute(setMember, []byte(w+"\x00"))...)
		}
	}
	return data
}

// setEnds are the members of all sets of both sides, but of those with a timeout.
func (w *twins) setEnds(t *testing.T) (emulator, kernel string) {
	t.Helper()
	saved, err := dataplane.DumpSets(w.kernel.ns)
	require.NoError(t, err)
	sets, err := ipset.Parse(saved)
	require.NoError(t, err)
	return setLines(w.emulator.Sets()), setLines(sets)
}

// setLines are all members of sets, a set a line.
func setLines(sets ipset.Sets) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		if name != "brief" {
			fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(sets[name].Members(), "; "))
		}
	}
	return b.String()
}

// The sets that the kernel has of the text are those that natlab reads in it.
func TestTwinSets(t *testing.T) {
	t.Parallel()
	onAllTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		rs, err := iptables.ParseString(filterRules("-A FORWARD -j ACCEPT"), w.family)
		require.NoError(t, err)
		w.load(t, rs)
		got, want := w.setEnds(t)
		require.Equal(t, want, got)
		require.Contains(t, want, "nets: ")
	})
}
