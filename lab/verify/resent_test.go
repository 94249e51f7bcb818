package verify

import (
	"errors"
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/topology"
)

func TestNetCounter(t *testing.T) {
	const table = "Ip: Forwarding TTL\nIp: 1 64\nTcp: Rto RetransSegs\nTcp: -1 12\n"
	for _, row := range []struct {
		group, name string
		want        uint64
		err         string
	}{
		{"Tcp:", "RetransSegs", 12, ""},
		{"Ip:", "TTL", 64, ""},
		{"Tcp:", "TTL", 0, "there is no counter Tcp: TTL"},
		{"Udp:", "TTL", 0, "there is no counter Udp: TTL"},
		{"Tcp:", "Rto", 0, "invalid syntax"},
	} {
		n, err := netCounter([]byte(table), row.group, row.name)
		require.Equal(t, row.want, n)
		if row.err == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, row.err)
		}
	}
}

func TestResentNote(t *testing.T) {
	before := map[string]uint64{"a": 3, "b": 1, "c": 9}
	require.Empty(t, resentNote(before, before))
	require.Equal(t, []string{"TCP sent 1 packet again, of which the first was lost or late: b 1"}, resentNote(before, map[string]uint64{"a": 3, "b": 2, "c": 9}))
	require.Equal(t, []string{"TCP sent 23 packets again, of which the first was lost or late: f 9, a 7, d 3, b 2, e 1, and 1 more"},
		resentNote(before, map[string]uint64{"a": 10, "b": 3, "c": 9, "d": 3, "e": 1, "f": 9, "g": 1}))
}

func TestExchangeSize(t *testing.T) {
	plan := func(mtu int) topology.Plan {
		return topology.Plan{Namespaces: []topology.Namespace{{Devices: []topology.Device{{MTU: 1480}, {MTU: mtu}}}}}
	}
	require.Equal(t, 1700, exchangeSize(topology.Plan{}))
	require.Equal(t, 1700, exchangeSize(plan(1400)))
	require.Equal(t, 9200, exchangeSize(plan(9000)))
	require.Equal(t, traffic.MaxSize, exchangeSize(plan(65000)))
}

func TestHaltOf(t *testing.T) {
	tcp := nat.TupleOf(nat.TCP, addrPort("10.0.0.1:40000"), addrPort("10.0.0.2:80"))
	udp := nat.TupleOf(nat.UDP, addrPort("10.0.0.1:40000"), addrPort("10.0.0.2:80"))
	for _, row := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("another"), ""},
		{&traffic.Failure{Tuple: tcp, Kind: traffic.Timeout, Stage: traffic.Connecting}, ""},
		{&traffic.Failure{Tuple: udp, Kind: traffic.Timeout, Stage: traffic.Asking}, ""},
		{&traffic.Failure{Tuple: tcp, Kind: traffic.Timeout, Stage: traffic.Asking}, "the connection was made, and then no answer came to the request"},
		{&traffic.Failure{Tuple: tcp, Kind: traffic.Timeout, Stage: traffic.Ending}, "the connection was made, and then the answer came, and the server's FIN did not"},
		{&traffic.Failure{Tuple: tcp, Kind: traffic.Timeout, Stage: traffic.Closing}, "the connection was made, and then the answer came, and no acknowledgement of the client's FIN"},
		{&traffic.Failure{Tuple: tcp, Kind: traffic.Reset, Stage: traffic.Asking, Err: unix.ECONNRESET}, "the connection was made, and then an RST ended it"},
		{&traffic.Failure{Tuple: tcp, Kind: traffic.Unreachable, Stage: traffic.Ending}, "the connection was made, and then an ICMP error ended it"},
		{&traffic.Failure{Tuple: tcp, Kind: traffic.Broken, Stage: traffic.Asking, Err: io.ErrUnexpectedEOF}, "the connection was made, and then it broke: unexpected EOF"},
		{&traffic.Failure{Tuple: tcp, Kind: traffic.Broken, Stage: traffic.Connecting, Err: unix.EMFILE}, ""},
	} {
		require.Equal(t, row.want, haltOf(row.err))
	}
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// What ends a connection is told of its flow; only a socket that could not be used at all ends the proof.
func TestEndsOf(t *testing.T) {
	tcp := nat.TupleOf(nat.TCP, addrPort("10.0.0.1:40000"), addrPort("10.0.0.2:80"))
	answer := traffic.Answer{Server: "a", Endpoint: addrPort("10.0.0.2:80")}
	for _, row := range []struct {
		r      traffic.Result
		end    nat.End
		halted bool
		err    bool
	}{
		{traffic.Result{Answer: answer}, nat.EndAnswered, false, false},
		{traffic.Result{Answer: answer, Err: &traffic.Failure{Tuple: tcp, Kind: traffic.Timeout, Stage: traffic.Ending}}, nat.EndAnswered, true, false},
		{traffic.Result{Err: &traffic.Failure{Tuple: tcp, Kind: traffic.Timeout}}, nat.EndLost, false, false},
		{traffic.Result{Err: &traffic.Failure{Tuple: tcp, Kind: traffic.Timeout, Stage: traffic.Asking}}, nat.EndLost, true, false},
		{traffic.Result{Err: &traffic.Failure{Tuple: tcp, Kind: traffic.Refused}}, nat.EndRefused, false, false},
		{traffic.Result{Err: &traffic.Failure{Tuple: tcp, Kind: traffic.Reset, Stage: traffic.Asking}}, nat.EndUnknown, true, false},
		{traffic.Result{Err: &traffic.Failure{Tuple: tcp, Kind: traffic.Broken, Stage: traffic.Asking, Err: io.ErrUnexpectedEOF}}, nat.EndUnknown, true, false},
		{traffic.Result{Err: &traffic.Failure{Tuple: tcp, Kind: traffic.Broken, Err: unix.EMFILE}}, nat.EndUnknown, false, true},
	} {
		ends, err := endsOf(row.r)
		require.Equal(t, row.err, err != nil)
		require.Equal(t, row.end, ends.End)
		require.Equal(t, row.halted, ends.Halted != "", ends.Halted)
	}
}
