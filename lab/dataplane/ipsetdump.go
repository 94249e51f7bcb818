package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of linux/netfilter/ipset/ip_set.h in what IPSET_CMD_LIST answers. Some numbers are of a set's header, others of a
// member.
const (
	ipsetList    = 7 // IPSET_CMD_LIST
	ipsetAttrADT = 8

	ipsetIP       = 1
	ipsetIPTo     = 2
	ipsetCIDR     = 3
	ipsetPort     = 4
	ipsetPortTo   = 5
	ipsetTimeout  = 6
	ipsetProto    = 7
	ipsetFlags    = 8
	ipsetMark     = 10
	ipsetMarkMask = 11
	ipsetBitmask  = 12
	ipsetMaxElem  = 19
	ipsetNetmask  = 20

	ipsetEther   = 17
	ipsetName    = 18
	ipsetIP2     = 20
	ipsetCIDR2   = 21
	ipsetDevice  = 23
	ipsetBytes   = 24
	ipsetPackets = 25
	ipsetSKBMark = 27
	ipsetSKBPrio = 28
	ipsetQueue   = 29

	// Bits of ipsetFlags.
	ipsetPhysdev      = 1 << 1
	ipsetNoMatch      = 1 << 2
	ipsetWithCounters = 1 << 3
	ipsetWithForce    = 1 << 5
	ipsetWithSKBInfo  = 1 << 6
	ipsetWildcard     = 1 << 7
)

// DumpSets is the ipsets of a namespace in the words of `ipset save`, with all that decides what they answer. A kernel without
// ipsets has none.
func DumpSets(ns Namespace) (save string, err error) {
	var b strings.Builder
	err = ns.Do(func() error {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return fmt.Errorf("open nfnetlink: %w", err)
		}
		defer func() { _ = c.Close() }()
		attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: ipsetAttrProtocol, Data: []byte{ipsetProtocol}}})
		if err != nil {
			return err
		}
		msgs, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_IPSET<<8 | ipsetList, Flags: netlink.Request | netlink.Dump},
			Data:   append([]byte{unix.NFPROTO_IPV4, unix.NFNETLINK_V0, 0, 0}, attrs...),
		})
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
			return nil
		}
		kinds := map[string]string{}
		for _, m := range msgs {
			if err == nil && len(m.Data) > 4 {
				err = printSet(&b, m.Data[4:], kinds)
			}
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("list the ipsets: %w", err)
	}
	return b.String(), nil
}

// attributes are those of one level, by type without its flags.
type attributes map[uint16]netlink.Attribute

func attributesOf(b []byte) (attributes, error) {
	list, err := netlink.UnmarshalAttributes(b)
	out := attributes{}
	for _, a := range list {
		out[a.Type&^(netlink.Nested|netlink.NetByteOrder)] = a
	}
	return out, err
}

// number is an integer of any size; what is marked so is in network order.
func (a attributes) number(kind uint16) (n uint64, ok bool) {
	at, ok := a[kind]
	b := slices.Clone(at.Data)
	if at.Type&netlink.NetByteOrder == 0 && binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		slices.Reverse(b)
	}
	for _, octet := range b {
		n = n<<8 | uint64(octet)
	}
	return n, ok
}

func (a attributes) text(kind uint16) string {
	s, _, _ := strings.Cut(string(a[kind].Data), "\x00")
	return s
}

// addr is an address, which is nested; "" for none.
func (a attributes) addr(kind uint16) string {
	nested, err := attributesOf(a[kind].Data)
	if err != nil {
		return ""
	}
	for _, n := range nested {
		if addr, ok := netip.AddrFromSlice(n.Data); ok {
			return addr.String()
		}
	}
	return ""
}

// printSet prints one message: of a set's header, of members, or both. The first of a set alone tells its type (ip_set_dump_do), which kinds keeps
// by the set's name.
func printSet(b *strings.Builder, data []byte, kinds map[string]string) error {
	set, err := attributesOf(data)
	if err != nil {
		return err
	}
	name, kind := set.text(ipsetAttrName), set.text(ipsetAttrType)
	if kind == "" {
		kind = kinds[name]
	}
	kinds[name] = kind
	if header, ok := set[ipsetAttrData]; ok {
		h, err := attributesOf(header.Data)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "create %s %s%s\n", name, kind, headerText(kind, set, h))
	}
	members, err := netlink.UnmarshalAttributes(set[ipsetAttrADT].Data)
	for _, m := range members {
		member, err := attributesOf(m.Data)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "add %s %s%s\n", name, memberText(kind, member), extensionText(member))
	}
	return err
}

// headerText is the options of create.
func headerText(kind string, set, h attributes) string {
	var b strings.Builder
	number := func(kind uint16, option string) {
		if n, ok := h.number(kind); ok {
			fmt.Fprintf(&b, " %s %d", option, n)
		}
	}
	switch {
	case strings.HasPrefix(kind, "hash:"):
		family := "inet"
		if f, _ := set.number(ipsetAttrFamily); f == unix.NFPROTO_IPV6 {
			family = "inet6"
		}
		b.WriteString(" family " + family)
	case kind == "bitmap:port":
		first, _ := h.number(ipsetPort)
		last, _ := h.number(ipsetPortTo)
		fmt.Fprintf(&b, " range %d-%d", first, last)
	case strings.HasPrefix(kind, "bitmap:"):
		fmt.Fprintf(&b, " range %s-%s", h.addr(ipsetIP), h.addr(ipsetIPTo))
	}
	number(ipsetMaxElem, "maxelem")
	number(ipsetNetmask, "netmask")
	if mask := h.addr(ipsetBitmask); mask != "" {
		b.WriteString(" bitmask " + mask)
	}
	number(ipsetMarkMask, "markmask")
	number(ipsetTimeout, "timeout")
	flags, _ := h.number(ipsetFlags)
	for _, f := range []struct {
		bit  uint64
		name string
	}{{ipsetWithCounters, " counters"}, {ipsetWithSKBInfo, " skbinfo"}, {ipsetWithForce, " forceadd"}} {
		if flags&f.bit != 0 {
			b.WriteString(f.name)
		}
	}
	return b.String()
}

// memberText is a member by its set's type: "10.0.0.0/8,6:80".
func memberText(kind string, m attributes) string {
	flags, _ := m.number(ipsetFlags)
	_, dimensions, _ := strings.Cut(kind, ":")
	addr, cidr := uint16(ipsetIP), uint16(ipsetCIDR)
	var parts []string
	for part := range strings.SplitSeq(dimensions, ",") {
		text := ""
		switch part {
		case "ip":
			text = m.addr(addr)
			addr, cidr = ipsetIP2, ipsetCIDR2
		case "net":
			text = m.addr(addr)
			if n, ok := m.number(cidr); ok {
				text += "/" + strconv.FormatUint(n, 10)
			}
			addr, cidr = ipsetIP2, ipsetCIDR2
		case "port":
			text = portText(kind, m)
		case "mac":
			if mac := m[ipsetEther].Data; len(mac) == 6 {
				text = fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
			}
		case "iface":
			if text = m.text(ipsetDevice); flags&ipsetPhysdev != 0 {
				text = "physdev:" + text
			}
		case "mark":
			n, _ := m.number(ipsetMark)
			text = strconv.FormatUint(n, 10)
		case "set":
			text = m.text(ipsetName)
		}
		if text != "" { // a member of a bitmap:ip,mac may have no MAC
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, ",")
}

// portText is a port with its protocol's number, or an ICMP type with its code.
func portText(kind string, m attributes) string {
	port, _ := m.number(ipsetPort)
	proto, _ := m.number(ipsetProto)
	switch {
	case kind == "bitmap:port":
		return strconv.FormatUint(port, 10)
	case proto == unix.IPPROTO_ICMP || proto == unix.IPPROTO_ICMPV6:
		return fmt.Sprintf("%d:%d/%d", proto, port>>8, port&0xff)
	}
	return fmt.Sprintf("%d:%d", proto, port)
}

// extensionText is what a member has besides.
func extensionText(m attributes) string {
	var b strings.Builder
	for _, o := range []struct {
		kind uint16
		name string
	}{{ipsetTimeout, "timeout"}, {ipsetPackets, "packets"}, {ipsetBytes, "bytes"}, {ipsetQueue, "skbqueue"}} {
		if n, ok := m.number(o.kind); ok {
			fmt.Fprintf(&b, " %s %d", o.name, n)
		}
	}
	if mark, ok := m.number(ipsetSKBMark); ok {
		fmt.Fprintf(&b, " skbmark %#x/%#x", mark>>32, mark&0xffffffff)
	}
	if prio, ok := m.number(ipsetSKBPrio); ok {
		fmt.Fprintf(&b, " skbprio %x:%x", prio>>16, prio&0xffff)
	}
	flags, _ := m.number(ipsetFlags)
	if flags&ipsetNoMatch != 0 {
		b.WriteString(" nomatch")
	}
	if flags&ipsetWildcard != 0 {
		b.WriteString(" wildcard")
	}
	return b.String()
}
