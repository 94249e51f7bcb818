package bundle

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
)

// Who listens is the same however people post it.
func TestSocketsAsPeoplePostThem(t *testing.T) {
	t.Parallel()
	want := []gateway.Socket{{Proto: nat.TCP, Port: 22}, {Proto: nat.TCP, Addr: netip.MustParseAddr("127.0.0.1"), Port: 6443}, {Proto: nat.TCP, Port: 10250}}
	any4 := want[0]
	any4.Addr = netip.IPv4Unspecified()
	want[0] = any4
	for name, text := range map[string]string{
		"ss -lntup": "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\ntcp   LISTEN 0      128          0.0.0.0:22       0.0.0.0:*    users:((\"sshd\",pid=1,fd=3))\ntcp   LISTEN 0      4096       127.0.0.1:6443     0.0.0.0:*\ntcp   LISTEN 0      4096               *:10250            *:*\nu_str LISTEN 0 4096 /run/x 1 * 0\n",
		"ss -lntp":  "$ ss -lntp\nState  Recv-Q Send-Q Local Address:Port Peer Address:Port Process\nLISTEN 0      128          0.0.0.0:22       0.0.0.0:*\nLISTEN 0      4096       127.0.0.1:6443     0.0.0.0:*\nLISTEN 0      4096            [::]:10250         [::]:*\n",
		"netstat":   "Active Internet connections (only servers)\nProto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name\ntcp        0      0 0.0.0.0:22              0.0.0.0:*               LISTEN      123/sshd\ntcp        0      0 127.0.0.1:6443          0.0.0.0:*               LISTEN      1/k3s server\ntcp        0      0 10.0.0.1:22             10.0.0.2:5000           ESTABLISHED 124/sshd\ntcp6       0      0 :::10250                :::*                    LISTEN      9/kubelet\n",
	} {
		got, err := ParseSockets(text)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	got, err := ParseSockets("Netid State Recv-Q\n")
	require.NoError(t, err)
	require.NotNil(t, got, "it is told that nobody listens")
	require.Empty(t, got)
	for text, says := range map[string]string{
		"tcp LISTEN 0 128 nowhere 0.0.0.0:*\n": "line 1: ", "Netid State\nquic LISTEN 0 128 1.2.3.4:5 0.0.0.0:*\n": `line 2: "quic" is no protocol`,
		"tcp LISTEN\n": "line 1: want a socket",
	} {
		_, err := ParseSockets(text)
		require.ErrorContains(t, err, says)
	}
}
