package ipset

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Sets are the sets as packets have made them.
func (s *State) Sets() Sets { return s.sets }

// Members are the set's entries as `ipset save` prints them behind the set's name, sorted, but for their timeouts and with numbers for the
// names of protocols: "10.0.0.0/8,6:80 nomatch". Those of a list:set are in their order.
func (s *Set) Members() (out []string) {
	seen := map[key]bool{}
	for k := range s.keys {
		if seen[k] {
			continue
		}
		seen[k] = true
		for _, m := range s.find(k) {
			out = append(out, s.entryText(k, m)+s.extensionText(m))
		}
	}
	if s.Type != typeList {
		slices.Sort(out)
		return out
	}
	at := func(name string) int { return slices.IndexFunc(s.lists, func(k key) bool { return k.set == name }) }
	slices.SortFunc(out, func(a, b string) int { return cmp.Compare(at(strings.Fields(a)[0]), at(strings.Fields(b)[0])) })
	return out
}

// entryText is a member by its dimensions.
func (s *Set) entryText(k key, m *member) string {
	var parts []string
	at := 0
	for _, p := range s.parts {
		text := ""
		switch p {
		case partIP, partNet:
			text = s.networkText(k.addrs[at], p)
			at++
		case partPort:
			text = s.portText(k)
		case partMAC:
			mac, has := k.mac, true
			if s.Type == typeBitmapMAC {
				mac, has = m.mac, m.filled
			}
			if has {
				text = fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
			}
		case partDevice:
			if text = m.device; k.physdev {
				text = "physdev:" + text
			}
		case partMark:
			text = strconv.FormatUint(uint64(k.mark), 10)
		case partSet:
			text = k.set
		}
		if text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, ",")
}

// networkText is an address, or a network with its length.
func (s *Set) networkText(n network, p part) string {
	a := netip.AddrFrom16(n.addr)
	if s.width() == 32 {
		a = a.Unmap()
	}
	if p == partIP {
		return a.String()
	}
	return netip.PrefixFrom(a, int(n.bits)).String()
}

// portText is a port with its protocol's number, or an ICMP type with its code.
func (s *Set) portText(k key) string {
	switch {
	case s.Type == typeBitmapPort:
		return strconv.Itoa(int(k.port))
	case icmpNames[k.proto] != nil:
		return fmt.Sprintf("%d:%d/%d", k.proto, k.port>>8, k.port&0xff)
	}
	return fmt.Sprintf("%d:%d", k.proto, k.port)
}

// extensionText is what a member has besides.
func (s *Set) extensionText(m *member) string {
	var b strings.Builder
	if s.counted {
		fmt.Fprintf(&b, " packets %d bytes %d", m.packets, m.bytes)
	}
	if s.marked {
		fmt.Fprintf(&b, " skbmark %#x/%#x skbprio %x:%x skbqueue %d", m.info.Mark, m.info.MarkMask, m.info.Priority>>16, m.info.Priority&0xffff, m.info.Queue)
	}
	if m.noMatch {
		b.WriteString(" nomatch")
	}
	if m.wildcard {
		b.WriteString(" wildcard")
	}
	return b.String()
}
