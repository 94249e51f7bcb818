package bundle

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/diagnosis"
	"natlab/topology/dump"
)

// ipvs reads the virtual servers of the node, as the kernel tells them in /proc/net/ip_vs (ip_vs_info_seq_show) or ipvsadm -Ln prints them: which
// real server takes a packet is not modelled, so that what goes to one of them is in doubt, by the name of those that may take it.
func (n *Node) ipvs(b dump.Bundle) error {
	s, ok := b.Section("cat /proc/net/ip_vs")
	if !ok || !s.OK() {
		for _, a := range n.Namespace.Addresses {
			if a.Device == "kube-ipvs0" {
				n.doubt(netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen()), "where IPVS (kube-ipvs0) sends the packet")
			}
		}
		return nil
	}
	n.VirtualTold = true
	var all []virtualServer
	number := s.Line - 1
	for line := range strings.Lines(s.Text) {
		number++
		words := strings.Fields(line)
		switch {
		case len(words) < 2 || words[0] == "IP" || words[0] == "Prot" || words[1] == "RemoteAddress:Port":
		case words[0] == "->" && len(all) > 0:
			at, err := ipvsEnd(words[1])
			if err != nil {
				return in(s, fmt.Errorf("line %d: %w", number, err))
			}
			all[len(all)-1].real = append(all[len(all)-1].real, at.String())
		default:
			v, err := parseVirtual(words)
			if err != nil {
				return in(s, fmt.Errorf("line %d: %w", number, err))
			}
			all = append(all, v)
		}
	}
	for _, v := range all {
		n.doubts(v.doubt())
	}
	return nil
}

// virtualServer is one of IPVS: by an address, or by a mark of the packets.
type virtualServer struct {
	proto nat.Proto
	at    netip.AddrPort // not valid: by mark
	mark  string
	real  []string
}

func parseVirtual(words []string) (v virtualServer, err error) {
	if words[0] == "FWM" {
		v.mark = words[1]
		return v, nil
	}
	if v.proto, err = nat.ParseProto(strings.ToLower(words[0])); err != nil {
		return v, err
	}
	v.at, err = ipvsEnd(words[1])
	return v, err
}

func (v virtualServer) doubt() diagnosis.Doubt {
	to := strings.Join(v.real, ", ")
	switch {
	case len(v.real) == 0:
		to = "none, so that it refuses the packet (ip_vs_leave)"
	case len(v.real) > 1:
		to = "one of " + to
	}
	if !v.at.IsValid() {
		return diagnosis.Doubt{What: fmt.Sprintf("whether the packet has mark %s, which IPVS has a virtual server for: it sends such to %s", v.mark, to)}
	}
	return diagnosis.Doubt{
		What: fmt.Sprintf("where IPVS sends the packet: its virtual server %s %s has as real servers %s", v.proto, v.at, to),
		Of:   netip.PrefixFrom(v.at.Addr(), v.at.Addr().BitLen()), Proto: v.proto, Port: v.at.Port(),
	}
}

// ipvsEnd reads "0A600001:01BB", "[20010DB8000000000000000000000001]:0050" as the kernel prints them, or "10.96.0.1:443".
func ipvsEnd(text string) (netip.AddrPort, error) {
	if end, err := netip.ParseAddrPort(text); err == nil && strings.ContainsAny(text[:strings.LastIndexByte(text, ':')], ".:") {
		return end, nil
	}
	host, port, _ := strings.Cut(strings.ReplaceAll(strings.ReplaceAll(text, "[", ""), "]:", " "), " ")
	if port == "" {
		host, port, _ = strings.Cut(text, ":")
	}
	b, err := hex.DecodeString(strings.ReplaceAll(host, ":", ""))
	a, ok := netip.AddrFromSlice(b)
	number, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || !ok {
		return netip.AddrPort{}, fmt.Errorf("%q: want ADDRESS:PORT as /proc/net/ip_vs or ipvsadm -Ln prints it", text)
	}
	return netip.AddrPortFrom(a, uint16(number)), nil
}
