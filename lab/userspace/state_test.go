package userspace_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/userspace"
	"natlab/nat"
	"natlab/nat/behaviour"
	"natlab/nat/gateway"
)

// A gateway that ends, or is killed in the middle of a TCP stream, and the next one with the same file: the stream goes on, translated as it was.
func TestStateOverRestart(t *testing.T) {
	t.Parallel()
	for _, apply := range []userspace.Apply{userspace.ByMark, userspace.ByPayload} {
		t.Run(apply.String(), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			serve(t, s.server, "tcp", "10.0.2.2:8080")
			file := filepath.Join(t.TempDir(), "state")
			o := userspace.Options{Rules: map[nat.Family]gateway.Rules{nat.IPv4: {parse(t, rules4, nat.IPv4)}}, Apply: apply, State: file}
			g, err := userspace.Open(s.gateway, o)
			require.NoError(t, err)
			require.Zero(t, g.Restored())

			var c net.Conn
			require.NoError(t, s.client.Do(func() (err error) { // masqueraded to a port by chance: a connection that is forgotten gets another
				c, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", "10.0.1.1:30080")
				return err
			}))
			defer c.Close() //nolint:errcheck // it is over
			require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
			in := bufio.NewReaderSize(c, 1<<16)
			seen, err := in.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "10.0.2.1\n", seen)
			echo := func(size int) {
				t.Helper()
				payload := []byte(strings.Repeat("x", size))
				sent := make(chan error, 1)
				go func() { _, err := c.Write(payload); sent <- err }()
				back := make([]byte, size)
				_, err := io.ReadFull(in, back)
				require.NoError(t, err)
				require.NoError(t, <-sent)
			}
			echo(100)
			require.NoError(t, g.Save())
			echo(3 << 20) // what the file does not tell: the windows have moved on
			for i, end := range []func() error{g.Die, nil, nil} {
				if end == nil {
					end = g.Close
				}
				require.NoError(t, end())
				require.NotEmpty(t, tables(t, s), "nothing passes meanwhile")
				if b, err := os.ReadFile(file); i == 0 { // what a later save had
					require.NoError(t, err)
					require.Equal(t, 1, strings.Count(string(b), "dport=30080"))
				}
				g, err = userspace.Open(s.gateway, o)
				require.NoError(t, err)
				require.Equal(t, 1, g.Restored())
				echo(1 << 20)
			}
			require.NoError(t, g.Close())
		})
	}
}

// A file that is no list of connections is refused, and the namespace stays as it was.
func TestStateIsRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	file := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.WriteFile(file, []byte("tcp\n"), 0o600))
	_, err := userspace.Open(s.gateway, userspace.Options{Rules: map[nat.Family]gateway.Rules{nat.IPv4: {parse(t, rules4, nat.IPv4)}}, State: file})
	require.ErrorContains(t, err, fmt.Sprintf("connections: %s: line 1: want a connection as natlab keeps it, with kept=; delete the file to begin without any", file))
	require.Empty(t, tables(t, s))
}

// Another NAT than Linux's on the wire: the ports that it gives, and whom it lets in.
func TestBehaviourOnTheWire(t *testing.T) {
	t.Parallel()
	n, err := behaviour.Parse("mapping=endpoint-independent,filtering=address-dependent,ports=sequential,parity=off,range=7000-7009")
	require.NoError(t, err)
	s := newScene(t)
	const rules = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o right -j MASQUERADE\nCOMMIT\n"
	g, err := userspace.Open(s.gateway, userspace.Options{Rules: map[nat.Family]gateway.Rules{nat.IPv4: {parse(t, rules, nat.IPv4)}}, Facts: gateway.Facts{NAT: n}})
	require.NoError(t, err)
	defer func() { require.NoError(t, g.Close()) }()
	listen := func(from interface{ Do(f func() error) error }, addr string) net.PacketConn {
		var c net.PacketConn
		require.NoError(t, from.Do(func() (err error) {
			c, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", addr)
			return err
		}))
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	ip(t, s.server, "addr add 10.0.2.3/24 dev eth0")
	x, other := listen(s.client, "10.0.1.2:5000"), listen(s.client, "10.0.1.2:5001")
	y, y1, z := listen(s.server, "10.0.2.2:80"), listen(s.server, "10.0.2.2:81"), listen(s.server, "10.0.2.3:80")
	send := func(from, to net.PacketConn, at string) string {
		t.Helper()
		dst := net.UDPAddrFromAddrPort(addrPort(at))
		_, err := from.WriteTo([]byte("hello"), dst)
		require.NoError(t, err)
		_, seen, err := to.ReadFrom(make([]byte, 10))
		require.NoError(t, err)
		return seen.String()
	}
	require.Equal(t, "10.0.2.1:7000", send(x, y, "10.0.2.2:80"))
	require.Equal(t, "10.0.2.1:7000", send(x, y1, "10.0.2.2:81"), "one mapping for all")
	require.Equal(t, "10.0.2.1:7001", send(other, y, "10.0.2.2:80"))
	require.Equal(t, "10.0.2.2:80", send(y, x, "10.0.2.1:7000"))
	dropped := g.Stats().Dropped
	_, err = z.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(addrPort("10.0.2.1:7000"))) // nobody inside has asked it
	require.NoError(t, err)
	require.Equal(t, "10.0.2.2:81", send(y1, other, "10.0.2.1:7001"), "an address that was asked, by another port")
	require.Equal(t, dropped+1, g.Stats().Dropped)
	require.Equal(t, "10.0.2.1:7000", send(x, z, "10.0.2.3:80"))
	require.Equal(t, "10.0.2.3:80", send(z, x, "10.0.2.1:7000"))
}
