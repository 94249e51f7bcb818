package xt_test

import (
	"net/netip"
	"testing"

	"natlab/nat"
	"natlab/nat/packet"
)

// headers are extension headers.
func headers(list ...packet.Header) []packet.Header { return list }

// fragment is a fragment header with an offset in bytes, the bits beside it and the id 5.
func fragment(offset uint16, bits byte) packet.Header {
	return packet.Header{Type: 44, Bytes: []byte{0, 0, byte(offset >> 8), byte(offset) | bits, 0, 0, 0, 5}}
}

// hbh is a hop-by-hop options header with six bytes of options.
func hbh(options ...byte) packet.Header {
	return packet.Header{Type: 0, Bytes: append([]byte{0, 0}, options...)}
}

// routes is a routing header with so many segments left.
func routes(kind, left byte, addrs ...string) packet.Header {
	h := packet.Header{Type: 43, Bytes: []byte{0, byte(2 * len(addrs)), kind, left, 0, 0, 0, 0}}
	if kind == 4 {
		h.Bytes[4] = byte(len(addrs) - 1)
	}
	for _, a := range addrs {
		h.Bytes = append(h.Bytes, netip.MustParseAddr(a).AsSlice()...)
	}
	return h
}

// What the matches of IPv6's extension headers answer for a packet.
func TestHeaderMatchesAnswer(t *testing.T) {
	t.Parallel()
	checkMatches(t, []matchRow{
		// extension headers: none is there, or the first of its kind
		{"-m frag", tcp6, fields{}, no},
		{"-m frag ! --fragid 5", tcp6, fields{}, no},
		{"-m frag --fragid 1:5 --fragres --fragfirst --fragmore", tcp6, fields{Headers: headers(fragment(0, 1))}, yes},
		{"-m frag ! --fragid 5", tcp6, fields{Headers: headers(fragment(0, 1))}, no},
		{"-m frag --fragid 5:1", tcp6, fields{Headers: headers(fragment(0, 1))}, no},
		{"-m frag --fraglast --fraglen 99", tcp6, fields{Headers: headers(fragment(8, 0))}, yes},
		{"-m frag --fragmore", tcp6, fields{Headers: headers(fragment(8, 0))}, no},
		{"-m frag --fragfirst", tcp6, fields{Headers: headers(fragment(8, 0))}, no},
		{"-m frag --fragres", tcp6, fields{Headers: headers(fragment(0, 2))}, no},
		{"-m hbh", tcp6, fields{}, no},
		{"-m hbh --hbh-len 8", tcp6, fields{Headers: headers(hbh(1, 4, 0, 0, 0, 0))}, yes},
		{"-m dst --dst-len 8", tcp6, fields{Headers: headers(hbh(1, 4, 0, 0, 0, 0))}, no},
		{"-m hbh ! --hbh-len 8", tcp6, fields{Headers: headers(hbh(1, 4, 0, 0, 0, 0))}, no},
		{"-m hbh --hbh-opts 5:2,0,1:0", tcp6, fields{Headers: headers(hbh(5, 2, 7, 7, 0, 1))}, no},
		{"-m hbh --hbh-opts 5:2,0,0", tcp6, fields{Headers: headers(hbh(5, 2, 7, 7, 0, 0))}, yes},
		{"-m hbh --hbh-opts 5", tcp6, fields{Headers: headers(hbh(5, 200, 7, 7, 0, 0))}, yes},
		{"-m hbh --hbh-opts 5,0", tcp6, fields{Headers: headers(hbh(5, 200, 7, 7, 0, 0))}, no},
		{"-m hbh --hbh-opts 5:3", tcp6, fields{Headers: headers(hbh(5, 2, 7, 7, 0, 0))}, no},
		{"-m rt", tcp6, fields{}, no},
		{"-m rt --rt-type 0 --rt-segsleft :2 ! --rt-len 8 --rt-0-res", tcp6, fields{Headers: headers(routes(0, 1, "fd00::9", "fd00::8"))}, yes},
		{"-m rt --rt-type 0 --rt-0-addrs fd00::9,fd00::8", tcp6, fields{Headers: headers(routes(0, 1, "fd00::9", "fd00::8"))}, yes},
		{"-m rt --rt-type 0 --rt-0-addrs fd00::9", tcp6, fields{Headers: headers(routes(0, 1, "fd00::9", "fd00::8"))}, no},
		{"-m rt --rt-type 0 --rt-0-addrs fd00::8 --rt-0-not-strict", tcp6, fields{Headers: headers(routes(0, 1, "fd00::9", "fd00::8"))}, yes},
		{"-m rt --rt-type 0 --rt-0-addrs fd00::8,fd00::9 --rt-0-not-strict", tcp6, fields{Headers: headers(routes(0, 1, "fd00::9", "fd00::8"))}, no},
		{"-m rt ! --rt-type 0", tcp6, fields{Headers: headers(routes(0, 1, "fd00::9"))}, no},
		{"-m srh", tcp6, fields{}, no},
		{"-m srh", tcp6, fields{Headers: headers(routes(0, 1, "fd00::9", "fd00::8"))}, no},
		{"-m srh --srh-next-hdr 6 --srh-hdr-len-gt 3 --srh-segs-left-lt 2 ! --srh-last-entry-eq 0", tcp6, fields{Headers: headers(routes(4, 1, "fd00::9", "fd00::8"))}, yes},
		{"-m srh --srh-hdr-len-gt 4", tcp6, fields{Headers: headers(routes(4, 1, "fd00::9", "fd00::8"))}, no},
		{"-m srh ! --srh-tag 0", tcp6, fields{Headers: headers(routes(4, 1, "fd00::9", "fd00::8"))}, no},
		{"-m srh --srh-nsid fd00::/64 --srh-lsid fd00::9", tcp6, fields{Headers: headers(routes(4, 1, "fd00::9", "fd00::8"))}, yes},
		{"-m srh ! --srh-psid fd00::9", tcp6, fields{Headers: headers(routes(4, 1, "fd00::9", "fd00::8"))}, no},
		{"-m srh --srh-psid fd00::8", tcp6, fields{Headers: headers(routes(4, 0, "fd00::9", "fd00::8"))}, yes},
		{"-m srh --srh-nsid ::/0", tcp6, fields{Headers: headers(routes(4, 0, "fd00::9", "fd00::8"))}, no},
		{"-m ipv6header --header hop,frag,prot", tcp6, fields{Headers: headers(hbh(1, 4, 0, 0, 0, 0), fragment(0, 1))}, yes},
		{"-m ipv6header --header hop,prot", tcp6, fields{Headers: headers(hbh(1, 4, 0, 0, 0, 0), fragment(0, 1))}, no},
		{"-m ipv6header --header hop --soft", tcp6, fields{Headers: headers(hbh(1, 4, 0, 0, 0, 0), fragment(0, 1))}, yes},
		{"-m ipv6header ! --header hop --soft", tcp6, fields{Headers: headers(hbh(1, 4, 0, 0, 0, 0))}, no},
		{"-m ipv6header ! --header ah,dst --soft", tcp6, fields{Headers: headers(hbh(1, 4, 0, 0, 0, 0))}, yes},
		{"-m ipv6header --header 255", tcp6, fields{}, yes},
		{"-m ipv6header ! --header protocol", tcp6, fields{}, no},
		{"-m ipv6header --header esp", "esp [fd00::1]:0 > [fd00::2]:0", fields{Payload: make([]byte, 8)}, yes},
		{"-m ipv6header --header none", "59 [fd00::1]:0 > [fd00::2]:0", fields{}, yes},
		{"-p mh -m mh --mh-type bu", "135 [fd00::1]:0 > [fd00::2]:0", fields{Payload: []byte{59, 0, 5, 0, 0, 0, 0, 0}}, yes},
		{"-p mh -m mh ! --mh-type 4:6", "135 [fd00::1]:0 > [fd00::2]:0", fields{Payload: []byte{59, 0, 5, 0, 0, 0, 0, 0}}, no},
		{"-m eui64", tcp6, fields{}, no},
		{"-m eui64", "tcp [fd00::4001:2ff:fe03:405]:1 > [fd00::2]:80", fields{}, yes},
		{"-m eui64", "tcp [fd00::4001:2ff:fe03:406]:1 > [fd00::2]:80", fields{}, no},
	})
}

// What ip6tables refuses is refused, with the extension's name and the reason.
func TestHeaderMistakesAreRefused(t *testing.T) {
	t.Parallel()
	checkMistakes(t, nat.IPv6, []mistake{
		{"-m frag --fragmore --fraglast", "--fraglast: does not go with --fragmore"},
		{"-m rt --rt-0-res --rt-type 0", "--rt-0-res: needs --rt-type 0 in front of it"},
		{"-m rt ! --rt-type 0 --rt-0-addrs ::1", "--rt-0-addrs: needs --rt-type 0 in front of it"},
		{"-m rt --rt-type 0 --rt-0-not-strict", "--rt-0-not-strict: needs --rt-0-addrs in front of it"},
		{"-m rt --rt-type 0 --rt-0-addrs 10.0.0.1", "--rt-0-addrs 10.0.0.1: want addresses of ipv6"},
		{"-m hbh --hbh-opts 0:1", "no length for type 0"},
		{"-m dst --dst-opts 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "at most 16"},
		{"-m mh --mh-type 1", "-m mh: needs -p mobility-header"},
		{"-p mobility-header -m mh --mh-type 4:3", "--mh-type 4:3: want a type"},
		{"-m ipv6header", "-m ipv6header: needs --header"},
		{"-m ipv6header --header tcp", "--header tcp: want some of hop-by-hop"},
		{"-m srh --srh-hdr-len-eq 256", "--srh-hdr-len-eq 256: want a number from 0 to 255"},
	})
}
