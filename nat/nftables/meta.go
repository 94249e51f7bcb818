package nftables

import (
	"natlab/nat"
	"natlab/nat/rules"
)

// metaSelectors are the rows of nft_meta. Those without read are of what natlab does not know of a packet.
var metaSelectors = []selector{
	{name: "meta length", kind: Integer, read: func(r *run) (Number, rules.Answer) {
		if r.visit.Wire == nil {
			return Number{}, rules.Unknown
		}
		return known(uint64(r.visit.Wire.Len()))
	}},
	{name: "meta protocol", kind: EtherType, read: func(r *run) (Number, rules.Answer) {
		if r.c.family == nat.IPv6 {
			return known(0x86dd)
		}
		return known(0x0800)
	}},
	{name: "meta nfproto", kind: NFProto, read: nfproto},
	{name: "meta l4proto", kind: InetProto, read: func(r *run) (Number, rules.Answer) { return known(uint64(r.visit.Tuple.Proto())) }},
	{name: "meta mark", kind: MarkType, read: func(r *run) (Number, rules.Answer) { return known(uint64(r.visit.Mark)) }},
	{name: "meta priority", kind: ClassID},
	{name: "meta iif", kind: IfIndex, bare: true, read: inDevice},
	{name: "meta oif", kind: IfIndex, bare: true, read: outDevice},
	{name: "meta iifname", kind: IfName, bare: true, read: inDevice},
	{name: "meta oifname", kind: IfName, bare: true, read: outDevice},
	{name: "meta iifgroup", kind: DevGroup, bare: true},
	{name: "meta oifgroup", kind: DevGroup, bare: true},
	{name: "meta iiftype", kind: "iface_type"},
	{name: "meta oiftype", kind: "iface_type"},
	{name: "meta iifkind", kind: IfName},
	{name: "meta oifkind", kind: IfName},
	{name: "meta ibrname", kind: IfName},
	{name: "meta obrname", kind: IfName},
	{name: "meta sdif", kind: IfIndex},
	{name: "meta sdifname", kind: IfName},
	{name: "meta skuid", kind: UID, read: func(r *run) (Number, rules.Answer) { return owner(r, r.visit.Sender.UID) }},
	{name: "meta skgid", kind: GID, read: func(r *run) (Number, rules.Answer) { return owner(r, r.visit.Sender.GID) }},
	{name: "meta nftrace", kind: Integer},
	{name: "meta rtclassid", kind: "realm"},
	{name: "meta pkttype", kind: PktType, read: packetType},
	{name: "meta cpu", kind: Integer},
	{name: "meta cgroup", kind: Integer},
	{name: "meta random", kind: Integer},
	{name: "meta secpath", kind: Boolean, read: ipsec},
	{name: "meta ipsec", kind: Boolean, read: ipsec},
	{name: "meta time", kind: "meta_time"},
	{name: "meta day", kind: "day"},
	{name: "meta hour", kind: "hour"},
}

// nfproto is NFPROTO_IPV4 or NFPROTO_IPV6.
func nfproto(r *run) (Number, rules.Answer) {
	if r.c.family == nat.IPv6 {
		return known(10)
	}
	return known(2)
}

// inDevice is the in device's name, none where the hook has no device (nft_meta_store_ifname).
func inDevice(r *run) (Number, rules.Answer) { return nameNumber(r.visit.Input()), rules.Yes }

func outDevice(r *run) (Number, rules.Answer) { return nameNumber(r.visit.Out), rules.Yes }

// owner is an id of the process that holds the packet's socket; a packet that no process sends has none (nft_meta_get_eval_skugid).
func owner(r *run, id rules.ID) (Number, rules.Answer) {
	switch r.visit.Hook {
	case nat.PreRouting, nat.Forward:
		return Number{}, rules.No
	case nat.Input: // the socket may have been found early
		return Number{}, rules.Unknown
	case nat.Output, nat.PostRouting:
	}
	switch r.visit.Sender.Socket {
	case rules.NoSocket, rules.KernelSocket:
		return Number{}, rules.No
	case rules.ProcessSocket, rules.SocketUnknown:
	}
	if !id.Known {
		return Number{}, rules.Unknown
	}
	return known(uint64(id.Number))
}

// packetType is whom the packet's frame was for.
func packetType(r *run) (Number, rules.Answer) { return known(uint64(rules.FrameOf(&r.visit))) }

func ipsec(r *run) (Number, rules.Answer) {
	w, ok := r.visit.World.(rules.IPsecHolder)
	if !ok {
		return Number{}, rules.Unknown
	}
	switch w.IPsec(r.visit.Packet, false) {
	case rules.No:
		return known(0)
	case rules.Yes:
		return known(1)
	case rules.Unknown:
	}
	return Number{}, rules.Unknown
}
