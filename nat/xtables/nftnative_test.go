package xtables

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/xt"
)

// Attr is a netlink attribute, padded.
func Attr(kind uint16, data []byte) []byte {
	b := order.AppendUint16(order.AppendUint16(nil, uint16(4+len(data))), kind)
	b = append(b, data...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// expression is one as the kernel hands it out.
func expression(name string, attributes ...[]byte) []byte {
	return Attr(nftaListElem, append(Attr(nftaExprName, append([]byte(name), 0)), Attr(nftaExprData, slices.Concat(attributes...))...))
}

func attr32(kind uint16, n uint32) []byte { return Attr(kind, binary.BigEndian.AppendUint32(nil, n)) }

func attrValue(kind uint16, value string) []byte {
	return Attr(kind, Attr(nftaDataValue, []byte(value)))
}

// transportBytes loads length bytes at offset of the transport header into register 1.
func transportBytes(offset, length uint32) []byte {
	return expression("payload", attr32(1, 1), attr32(2, nftPayloadTransport), attr32(3, offset), attr32(4, length))
}

func comparison(op cmpOp, value string) []byte {
	return expression("cmp", attr32(1, 1), attr32(2, uint32(op)), attrValue(3, value))
}

// ofProtocol is -p.
func ofProtocol(p nat.Proto) []byte {
	return slices.Concat(expression("meta", attr32(1, 1), attr32(2, nftMetaL4Proto)), comparison(cmpEqual, string([]byte{byte(p)})))
}

// decodeNative is the table of the one rule.
func decodeNative(expressions ...[]byte) (Table, error) {
	chains := []NFTChain{{Name: "INPUT", BaseChain: true, Hook: nat.Input, Policy: VerdictAccept}}
	return DecodeNFT(nat.IPv4, "filter", chains, []NFTRule{{"INPUT", slices.Concat(expressions...)}})
}

// Native expressions that iptables-nft of one version or another writes, as iptables-nft-save prints them.
func TestNativeExpressionsOfPorts(t *testing.T) {
	t.Parallel()
	sport, dport, both := transportBytes(0, 2), transportBytes(2, 2), transportBytes(0, 4)
	between := func(op uint32) []byte {
		return expression("range", attr32(1, 1), attr32(2, op), attrValue(3, "\x00\x05"), attrValue(4, "\x01\x00"))
	}
	flags := func(op cmpOp) []byte {
		return slices.Concat(transportBytes(13, 1), expression("bitwise", attr32(1, 1), attr32(2, 1), attr32(3, 1), attrValue(4, "\x17"), attrValue(5, "\x00")), comparison(op, "\x02"))
	}
	for _, row := range []struct {
		want        string
		expressions [][]byte
	}{
		{"-p tcp -m tcp --sport 1", [][]byte{ofProtocol(nat.TCP), sport, comparison(cmpEqual, "\x00\x01")}},
		{"-p udp -m udp ! --dport 258", [][]byte{ofProtocol(nat.UDP), dport, comparison(cmpNotEqual, "\x01\x02")}},
		{"-p tcp -m tcp --sport 1 --dport 65535", [][]byte{ofProtocol(nat.TCP), both, comparison(cmpEqual, "\x00\x01\xff\xff")}},
		{"-p udp -m udp ! --sport 1 ! --dport 2", [][]byte{ofProtocol(nat.UDP), both, comparison(cmpNotEqual, "\x00\x01\x00\x02")}},
		{"-p tcp -m tcp --dport 0:1023", [][]byte{ofProtocol(nat.TCP), dport, comparison(cmpLessEqual, "\x03\xff")}},
		{"-p tcp -m tcp --dport 0:1023", [][]byte{ofProtocol(nat.TCP), dport, comparison(cmpLess, "\x04\x00")}},
		{"-p tcp -m tcp --sport 1024:65535", [][]byte{ofProtocol(nat.TCP), sport, comparison(cmpGreaterEqual, "\x04\x00")}},
		{"-p udp -m udp --sport 1024:65535", [][]byte{ofProtocol(nat.UDP), sport, comparison(cmpGreater, "\x03\xff")}},
		{"-p tcp -m tcp --sport 5:256", [][]byte{ofProtocol(nat.TCP), sport, between(0)}},
		{"-p tcp -m tcp ! --dport 5:256", [][]byte{ofProtocol(nat.TCP), dport, between(1)}},
		{"-p tcp -m tcp --sport 1 --dport 5:256", [][]byte{ofProtocol(nat.TCP), sport, comparison(cmpEqual, "\x00\x01"), dport, between(0)}},
		{"-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", [][]byte{ofProtocol(nat.TCP), flags(cmpEqual)}},
		{"-p tcp -m tcp --dport 2 ! --tcp-flags FIN,SYN,RST,ACK SYN", [][]byte{ofProtocol(nat.TCP), flags(cmpNotEqual), dport, comparison(cmpEqual, "\x00\x02")}},
	} {
		table, err := decodeNative(row.expressions...)
		require.NoError(t, err, row.want)
		got := Ruleset(nat.IPv4, nil, table).String()
		require.Contains(t, got, "-A INPUT "+row.want+"\n")
	}
}

// Both ports inverted in one comparison are one condition, which no options of iptables are: the rule's value holds it, so that
// whoever evaluates the rule is not misled by its text.
func TestNotBothPortsAreNotTwoConditions(t *testing.T) {
	t.Parallel()
	for op, notBoth := range map[cmpOp]bool{cmpEqual: false, cmpNotEqual: true} {
		table, err := decodeNative(ofProtocol(nat.UDP), transportBytes(0, 4), comparison(op, "\x00\x01\x00\x02"))
		require.NoError(t, err)
		matches := Ruleset(nat.IPv4, nil, table).Tables[0].Chains[0].Rules[0].Matches
		require.Equal(t, notBoth, matches[len(matches)-1].(xt.Ports).NotBoth, "%d: %v", op, matches)
	}
}

func TestNativeLogs(t *testing.T) {
	t.Parallel()
	group := Attr(1, []byte{0, 0})
	long := strings.Repeat("p", 100)
	for _, row := range []struct {
		want string
		log  [][]byte
	}{
		{"-j NFLOG", [][]byte{group}},
		{"-j NFLOG --nflog-size 0", [][]byte{group, attr32(3, 0)}},
		{"-j NFLOG --nflog-group 5 --nflog-size 96 --nflog-threshold 7", [][]byte{Attr(1, []byte{0, 5}), attr32(3, 96), Attr(4, []byte{0, 7})}},
		{"-j NFLOG --nflog-prefix " + long, [][]byte{group, Attr(2, []byte(long+"\x00"))}},
	} {
		table, err := decodeNative(expression("log", row.log...))
		require.NoError(t, err, row.want)
		got := Ruleset(nat.IPv4, nil, table).String()
		require.Contains(t, got, "-A INPUT "+row.want+"\n")
	}
}

// What iptables-nft does not write is named and put into no words.
func TestForeignExpressions(t *testing.T) {
	t.Parallel()
	tcp, udp := ofProtocol(nat.TCP), ofProtocol(nat.UDP)
	halved := expression("bitwise", attr32(1, 1), attr32(2, 1), attr32(3, 2), attrValue(4, "\xff\x00"), attrValue(5, "\x00\x00"))
	for _, row := range []struct {
		want        string
		expressions [][]byte
	}{
		{"ports of protocol 132", [][]byte{ofProtocol(nat.SCTP), transportBytes(0, 2), comparison(cmpEqual, "\x00\x01")}},
		{"ports of protocol 0", [][]byte{transportBytes(2, 2), comparison(cmpEqual, "\x00\x01")}},
		{"a comparison of 4 bytes at 0 in the transport header", [][]byte{tcp, transportBytes(0, 4), comparison(cmpLess, "\x00\x01\x00\x02")}},
		{"a comparison of 4 bytes at 4 in the transport header", [][]byte{tcp, transportBytes(4, 4), comparison(cmpEqual, "\x00\x01\x00\x02")}},
		{"a comparison of 1 bytes at 13 in the transport header", [][]byte{udp, transportBytes(13, 1), comparison(cmpEqual, "\x02")}},
		{"with mask ff00", [][]byte{tcp, transportBytes(2, 2), halved, comparison(cmpEqual, "\x01\x00")}},
		{"comparison 6 of 2 bytes", [][]byte{tcp, transportBytes(2, 2), comparison(6, "\x01\x00")}},
		{"a range of something", [][]byte{tcp, transportBytes(0, 4), expression("range", attr32(1, 1), attrValue(3, "\x00\x05\x00\x05"), attrValue(4, "\x01\x00\x01\x00"))}},
		{"a log expression without a group", [][]byte{expression("log", Attr(2, []byte("kernel\x00")))}},
	} {
		_, err := decodeNative(row.expressions...)
		var foreign *ForeignError
		require.ErrorAs(t, err, &foreign, row.want)
		require.ErrorContains(t, err, "table filter: chain INPUT: rule 1: ")
		require.ErrorContains(t, err, row.want)
	}
}
