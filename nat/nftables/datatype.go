package nftables

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"natlab/nat"
)

// Type is the datatype of a value, as nft names it (nft describe).
type Type string

// The datatypes that rules have names for in this package; the list below has them all.
const (
	IPv4Addr    Type = "ipv4_addr"
	IPv6Addr    Type = "ipv6_addr"
	EtherAddr   Type = "ether_addr"
	InetProto   Type = "inet_proto"
	InetService Type = "inet_service"
	MarkType    Type = "mark"
	IfName      Type = "ifname"
	IfIndex     Type = "iface_index" // held by the device's name, as nft prints it
	Integer     Type = "integer"
	CTState     Type = "ct_state"
	CTStatus    Type = "ct_status"
	CTDir       Type = "ct_dir"
	CTLabel     Type = "ct_label"
	FibAddrType Type = "fib_addrtype"
	ICMPType    Type = "icmp_type"
	ICMPv6Type  Type = "icmpv6_type"
	ICMPCode    Type = "icmp_code"
	ICMPv6Code  Type = "icmpv6_code"
	ICMPXCode   Type = "icmpx_code"
	TCPFlag     Type = "tcp_flag"
	DSCP        Type = "dscp"
	ECN         Type = "ecn"
	NFProto     Type = "nf_proto"
	EtherType   Type = "ether_type"
	PktType     Type = "pkt_type"
	Boolean     Type = "boolean"
	UID         Type = "uid"
	GID         Type = "gid"
	DevGroup    Type = "devgroup"
	ClassID     Type = "classid"
	TimeType    Type = "time"
	Text        Type = "string"
	RawBits     Type = "raw"    // of a header, which nft has no name for
	Untold      Type = "untold" // of an expression that natlab does not know: a value is what is written
	VerdictType Type = "verdict"
)

// datatype is a row of the list: how values of a type are written and read.
type datatype struct {
	name    Type
	bits    int
	form    *form
	mask    bool     // its values are sets of bits, each with a name
	symbols []symbol //
	perLine int      // how many elements of a set nft prints on a line; 0: one (calculate_delim)
}

// symbol is a name for a number.
type symbol struct {
	name  string
	value uint64
}

// form is how a number without a name is written and read.
type form struct {
	print func(Number) string
	parse func(string) (Number, bool)
}

var datatypes = []datatype{
	{name: IPv4Addr, bits: 32, form: ipv4Form, perLine: 2},
	{name: IPv6Addr, bits: 128, form: ipv6Form},
	{name: EtherAddr, bits: 48, form: etherForm},
	{name: InetProto, bits: 8, form: decimal, symbols: protocols, perLine: 5},
	{name: InetService, bits: 16, form: serviceForm, perLine: 5},
	{name: MarkType, bits: 32, form: hex, perLine: 5},
	{name: IfName, bits: 128, form: quoted},
	{name: IfIndex, bits: 128, form: quoted, perLine: 5},
	{name: Integer, bits: 32, form: decimal, perLine: 5},
	{name: CTState, bits: 32, form: decimal, mask: true, symbols: ctStates},
	{name: CTStatus, bits: 32, form: decimal, mask: true, symbols: ctStatuses},
	{name: CTDir, bits: 8, form: decimal, symbols: []symbol{{"original", 0}, {"reply", 1}}, perLine: 5},
	{name: CTLabel, bits: 128, form: decimal},
	{name: FibAddrType, bits: 32, form: decimal, symbols: addrTypes},
	{name: ICMPType, bits: 8, form: decimal, symbols: icmpTypes},
	{name: ICMPv6Type, bits: 8, form: decimal, symbols: icmpv6Types},
	{name: ICMPCode, bits: 8, form: decimal, symbols: icmpCodes},
	{name: ICMPv6Code, bits: 8, form: decimal, symbols: icmpv6Codes},
	{name: ICMPXCode, bits: 8, form: decimal, symbols: icmpxCodes},
	{name: TCPFlag, bits: 8, form: hex8, mask: true, symbols: tcpFlags, perLine: 5},
	{name: DSCP, bits: 6, form: hex2, symbols: dscps},
	{name: ECN, bits: 2, form: decimal, symbols: []symbol{{"not-ect", 0}, {"ect1", 1}, {"ect0", 2}, {"ce", 3}}},
	{name: NFProto, bits: 8, form: decimal, symbols: []symbol{{"ipv4", 2}, {"ipv6", 10}}, perLine: 5},
	{name: EtherType, bits: 16, form: hex16, symbols: etherTypes},
	{name: PktType, bits: 8, form: decimal, symbols: []symbol{{"host", 0}, {"unicast", 0}, {"broadcast", 1}, {"multicast", 2}, {"other", 3}}},
	{name: Boolean, bits: 1, form: decimal, symbols: []symbol{{"missing", 0}, {"exists", 1}}},
	{name: UID, bits: 32, form: decimal, perLine: 5},
	{name: GID, bits: 32, form: decimal, perLine: 5},
	{name: DevGroup, bits: 32, form: decimal, symbols: []symbol{{"default", 0}}},
	{name: ClassID, bits: 32, form: classForm, perLine: 5},
	{name: TimeType, bits: 64, form: durationForm},
	{name: "iface_type", bits: 16, form: decimal, symbols: []symbol{{"ether", 1}, {"ppp", 512}, {"ipip", 768}, {"ipip6", 769}, {"loopback", 772}, {"sit", 776}, {"ipgre", 778}}},
	{name: "realm", bits: 32, form: decimal},
	{name: "cgroupsv2", bits: 64, form: quoted},
	{name: "hour", bits: 32, form: quoted},
	{name: "day", bits: 8, form: quoted},
	{name: "arp_op", bits: 16, form: decimal, symbols: []symbol{{"request", 1}, {"reply", 2}, {"rrequest", 3}, {"rreply", 4}, {"inrequest", 8}, {"inreply", 9}, {"nak", 10}}, perLine: 5},
	{name: "dccp_pkttype", bits: 4, form: decimal, perLine: 5},
	{name: "mh_type", bits: 8, form: decimal},
	{name: "ct_event", bits: 32, form: decimal, mask: true, symbols: []symbol{{"new", 1}, {"related", 2}, {"destroy", 4}, {"reply", 8}, {"assured", 16}, {"protoinfo", 32}, {"helper", 64}, {"mark", 128}, {"label", 1024}}},
	{name: Text, bits: 128, form: quoted},
	{name: RawBits, bits: 64, form: hex8},
	{name: VerdictType},
}

func (t Type) row() *datatype {
	if i := slices.IndexFunc(datatypes, func(d datatype) bool { return d.name == t }); i >= 0 {
		return &datatypes[i]
	}
	return &datatype{name: t, bits: 128, form: decimal}
}

// Known reports whether there is such a datatype.
func (t Type) Known() bool {
	return slices.ContainsFunc(datatypes, func(d datatype) bool { return d.name == t })
}

// address reports whether ranges of the type that are prefixes are printed as such (DTYPE_F_PREFIX).
func (d *datatype) address() bool { return d.form == ipv4Form || d.form == ipv6Form }

func (d *datatype) symbol(name string) (Number, bool) {
	i := slices.IndexFunc(d.symbols, func(s symbol) bool { return s.name == name })
	if i < 0 {
		return Number{}, false
	}
	return number(d.symbols[i].value), true
}

// print is a single value of the type: by its name, or names of bits joined by sep.
func (d *datatype) print(n Number, sep string) string {
	if d.mask && n != (Number{}) {
		var out []string
		rest := n.Low
		for _, s := range d.symbols {
			if rest&s.value == s.value {
				out, rest = append(out, s.name), rest&^s.value
			}
		}
		if rest == 0 {
			return strings.Join(out, sep)
		}
	}
	for _, s := range d.symbols {
		if number(s.value) == n {
			return s.name
		}
	}
	return d.form.print(n)
}

var (
	decimal = &form{func(n Number) string { return strconv.FormatUint(n.Low, 10) }, parseInteger}
	hex     = &form{func(n Number) string { return fmt.Sprintf("0x%08x", n.Low) }, parseInteger}
	hex8    = &form{func(n Number) string { return fmt.Sprintf("0x%x", n.Low) }, parseInteger}
	hex2    = &form{func(n Number) string { return fmt.Sprintf("0x%02x", n.Low) }, parseInteger}
	hex16   = &form{func(n Number) string { return fmt.Sprintf("0x%04x", n.Low) }, parseInteger}

	// Old versions of nft print ports by their names.
	serviceForm = &form{decimal.print, func(s string) (Number, bool) {
		if port, named := nat.ServicePort(s, 0); named {
			return number(uint64(port)), true
		}
		return parseInteger(s)
	}}

	ipv4Form = &form{func(n Number) string { return n.addr4().String() }, func(s string) (Number, bool) {
		a, err := netip.ParseAddr(s)
		return addrNumber(a), err == nil && a.Is4()
	}}
	ipv6Form = &form{func(n Number) string { return n.addr6().String() }, func(s string) (Number, bool) {
		a, err := netip.ParseAddr(s)
		return addrNumber(a), err == nil && a.Is6() && a.Zone() == ""
	}}
	etherForm = &form{
		func(n Number) string {
			return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", n.Low>>40&255, n.Low>>32&255, n.Low>>24&255, n.Low>>16&255, n.Low>>8&255, n.Low&255)
		},
		func(s string) (n Number, ok bool) {
			mac, ok := nat.ParseMAC(s)
			for _, b := range mac {
				n.Low = n.Low<<8 | uint64(b)
			}
			return n, ok
		},
	}
	quoted    = &form{func(n Number) string { return quote(n.name()) }, func(s string) (Number, bool) { return nameNumber(s), len(s) <= 16 }}
	classForm = &form{
		func(n Number) string { return fmt.Sprintf("%x:%x", n.Low>>16, n.Low&0xffff) },
		func(s string) (Number, bool) {
			major, minor, cut := strings.Cut(s, ":")
			if !cut {
				return parseInteger(s)
			}
			a, err := strconv.ParseUint("0"+major, 16, 16)
			b, err2 := strconv.ParseUint("0"+minor, 16, 16)
			return number(a<<16 | b), err == nil && err2 == nil
		},
	}
	durationForm = &form{
		func(n Number) string { return printDuration(time.Duration(n.Low) * time.Millisecond) },
		func(s string) (Number, bool) {
			d, ok := parseDuration(s)
			return number(uint64(d / time.Millisecond)), ok
		},
	}
)

func parseInteger(s string) (Number, bool) {
	n, err := strconv.ParseUint(s, 0, 64)
	return number(n), err == nil
}

// units of durations, as nft writes them; a plain number is seconds.
var units = []struct {
	name string
	of   time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}

// printDuration is "1h30m", as time_print has it.
func printDuration(d time.Duration) string {
	out := ""
	for _, u := range units {
		if n := d / u.of; n > 0 {
			out, d = out+strconv.FormatInt(int64(n), 10)+u.name, d%u.of
		}
	}
	if out == "" {
		return "0s"
	}
	return out
}

func parseDuration(s string) (time.Duration, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Duration(n) * time.Second, true
	}
	var out time.Duration
	for s != "" {
		digits := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if digits <= 0 {
			return 0, false
		}
		n, err := strconv.ParseInt(s[:digits], 10, 64)
		letters := strings.IndexAny(s[digits:], "0123456789")
		if letters < 0 {
			letters = len(s) - digits
		}
		i := slices.IndexFunc(units, func(u struct {
			name string
			of   time.Duration
		},
		) bool {
			return u.name == s[digits:digits+letters]
		})
		if err != nil || i < 0 {
			return 0, false
		}
		out, s = out+time.Duration(n)*units[i].of, s[digits+letters:]
	}
	return out, out >= 0
}
