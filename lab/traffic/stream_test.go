package traffic_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/traffic"
	"natlab/nat"
)

// A stream comes back as it was sent, behind other questions on the connection and before more.
func TestStream(t *testing.T) {
	ns := newFresh(t)
	serve(t, ns, "a", nat.TCP, "127.0.0.1:80")
	ctx := soon(t, 20*time.Second)
	c, err := traffic.Open(ctx, ns, to(nat.TCP, "127.0.0.1:80"))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	_, err = c.Ask(ctx)
	require.NoError(t, err)
	for _, size := range []int64{0, 1, 20_000, 5 << 20} {
		s, err := c.Stream(ctx, size)
		require.NoError(t, err)
		require.True(t, s.Whole(), size)
		require.Equal(t, addr("127.0.0.1:80"), s.Answer.Endpoint)
	}
	_, err = c.Ask(ctx)
	require.NoError(t, err)
}

// What comes back otherwise, or not at all, shows.
func TestStreamThatIsSpoilt(t *testing.T) {
	ns := newFresh(t)
	for i, row := range []struct {
		name  string
		spoil func(io.Reader) io.Reader
		want  string
	}{
		{"a byte", func(r io.Reader) io.Reader { return io.MultiReader(bytes.NewReader([]byte("!")), &skipped{r, 1}) }, ""},
		{"cut off", func(r io.Reader) io.Reader { return io.LimitReader(r, 1000) }, "1000 of 100000 bytes came back"},
	} {
		t.Run(row.name, func(t *testing.T) {
			at := fmt.Sprintf("127.0.0.1:%d", 8080+i)
			var l net.Listener
			require.NoError(t, ns.Do(func() (err error) { l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", at); return err }))
			done := make(chan struct{})
			go func() {
				defer close(done)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				request := make([]byte, 4096)
				n, _ := conn.Read(request)
				words := bytes.Fields(request[:n])
				_, _ = fmt.Fprintf(conn, "{\"server\":\"x\",\"peer\":\"127.0.0.1:1\",\"local\":%q,\"nonce\":%q}\n", at, words[2])
				sent := io.LimitReader(conn, 100_000)
				_, _ = io.Copy(conn, row.spoil(sent))
				_, _ = io.Copy(io.Discard, sent) // else the end would be a RST
			}()
			c, err := traffic.Open(soon(t, 10*time.Second), ns, to(nat.TCP, at))
			require.NoError(t, err)
			s, err := c.Stream(soon(t, 10*time.Second), 100_000)
			if row.want == "" {
				require.NoError(t, err)
				require.False(t, s.Whole())
			} else {
				require.ErrorContains(t, err, row.want)
			}
			require.NoError(t, c.Close())
			require.NoError(t, l.Close())
			<-done
		})
	}
}

// skipped passes a reader's first bytes over.
type skipped struct {
	io.Reader
	n int64
}

func (s *skipped) Read(b []byte) (int, error) {
	if s.n > 0 {
		n, err := io.CopyN(io.Discard, s.Reader, s.n)
		s.n -= n
		if err != nil {
			return 0, err
		}
	}
	return s.Reader.Read(b)
}

// A datagram of each size is answered; with DF what does not fit into the device's MTU is told to be too long.
func TestProbe(t *testing.T) {
	ns := newFresh(t)
	require.NoError(t, ns.Do(func() error { return exec.CommandContext(t.Context(), "ip", "link", "set", "lo", "mtu", "1500").Run() }))
	for _, at := range []string{"127.0.0.1:53", "[::1]:53"} {
		t.Run(at, func(t *testing.T) {
			serve(t, ns, "a", nat.UDP, at)
			ctx := soon(t, 20*time.Second)
			c, err := traffic.Open(ctx, ns, to(nat.UDP, at))
			require.NoError(t, err)
			defer func() { require.NoError(t, c.Close()) }()
			for _, size := range []int{1, 1400, 1500, 9000} {
				_, err := c.Probe(ctx, size)
				require.NoError(t, err, size)
			}
			require.NoError(t, c.DontFragment())
			_, err = c.Probe(ctx, 1400)
			require.NoError(t, err)
			_, err = c.Probe(ctx, 1500)
			require.ErrorIs(t, err, traffic.ErrTooLong)
			mtu, err := c.PathMTU()
			require.NoError(t, err)
			require.Equal(t, 1500, mtu)
		})
	}
}

// Many long requests at once are sent whole, and each of their answers is found.
func TestManyLongRequests(t *testing.T) {
	ns := newFresh(t)
	serve(t, ns, "a", nat.TCP, "127.0.0.1:80")
	ctx := soon(t, 20*time.Second)
	c, err := traffic.Open(ctx, ns, to(nat.TCP, "127.0.0.1:80"))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	var sent []string
	for range 20 {
		nonce, err := c.SendLong(ctx, 9000)
		require.NoError(t, err)
		sent = append(sent, nonce)
	}
	for _, nonce := range sent {
		_, err := c.Receive(ctx, nonce)
		require.NoError(t, err)
	}
}
