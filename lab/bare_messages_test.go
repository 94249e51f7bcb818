package lab

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"natlab/topology"
)

// messages is everything that a namespace is told once its devices are there.
func (s *bareSite) messages(index map[string]int) [][]byte {
	var out [][]byte
	for _, d := range s.ns.Devices {
		if d.Master != "" {
			out = append(out, setLink(index[d.Name], 0, nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(index[d.Master])))))
		}
		if d.Kind == topology.TunnelIPIP {
			out = append(out, setLink(index[d.Name], 0, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(d.MTU)))))
		}
		out = append(out, setLink(index[d.Name], unix.IFF_UP))
	}
	for _, a := range s.ns.Addresses {
		out = append(out, newAddress(index[a.Device], a))
	}
	for _, r := range s.ns.Routes {
		out = append(out, newRoute(index[r.Device], r))
	}
	for _, n := range s.ns.Neighbours {
		out = append(out, newNeighbour(index[n.Device], n))
	}
	return out
}

func setLink(index int, flags uint32, attrs ...*nl.RtAttr) []byte {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index, msg.Flags, msg.Change = int32(index), flags, flags
	req.AddData(msg)
	for _, a := range attrs {
		req.AddData(a)
	}
	return req.Serialize()
}

// What the reference cluster has of scopes and route protocols, as rtnetlink numbers them.
var (
	scopes    = map[topology.Scope]uint8{topology.ScopeLink: unix.RT_SCOPE_LINK, topology.ScopeHost: unix.RT_SCOPE_HOST}
	protocols = map[string]uint8{"": unix.RTPROT_BOOT, "boot": unix.RTPROT_BOOT, "kernel": unix.RTPROT_KERNEL, "bird": unix.RTPROT_BIRD}
)

func newAddress(index int, a topology.Address) []byte {
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	msg := nl.NewIfAddrmsg(unix.AF_INET)
	msg.Index, msg.Prefixlen, msg.Scope = uint32(index), uint8(a.Prefix.Bits()), scopes[a.Scope]
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, a.Prefix.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, a.Prefix.Addr().AsSlice()))
	return req.Serialize()
}

func newRoute(index int, r topology.Route) []byte {
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	msg := nl.NewRtMsg()
	msg.Family, msg.Dst_len, msg.Scope, msg.Type = unix.AF_INET, uint8(r.Dst.Bits()), scopes[r.Scope], unix.RTN_UNICAST
	if r.Type == topology.Blackhole {
		msg.Type = unix.RTN_BLACKHOLE
	}
	if r.Onlink {
		msg.Flags = unix.RTNH_F_ONLINK
	}
	msg.Protocol = protocols[r.Protocol]
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.RTA_DST, r.Dst.Addr().AsSlice()))
	for kind, addr := range map[int]netip.Addr{unix.RTA_GATEWAY: r.Via, unix.RTA_PREFSRC: r.Src} {
		if addr.IsValid() {
			req.AddData(nl.NewRtAttr(kind, addr.AsSlice()))
		}
	}
	if index != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	}
	return req.Serialize()
}

// newNeighbour is a proxy entry: the reference cluster has no other.
func newNeighbour(index int, n topology.Neighbour) []byte {
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	req.AddData(&neighbourHeader{family: unix.AF_INET, index: uint32(index)})
	req.AddData(nl.NewRtAttr(unix.RTA_DST, net.IP(n.IP.AsSlice())))
	return req.Serialize()
}

// neighbourHeader is struct ndmsg of a permanent proxy entry.
type neighbourHeader struct {
	family uint8
	index  uint32
}

func (h *neighbourHeader) Len() int { return 12 }

func (h *neighbourHeader) Serialize() []byte {
	const nudPermanent, ntfProxy = 0x80, 0x08
	return append(append([]byte{h.family, 0, 0, 0}, nl.Uint32Attr(h.index)...), nudPermanent, 0, ntfProxy, 0)
}
