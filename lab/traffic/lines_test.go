package traffic

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// stream is a connection whose client wrote in and closed its end.
type stream struct {
	net.Conn
	in  bytes.Reader
	out bytes.Buffer
}

func (s *stream) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *stream) Write(b []byte) (int, error) { return s.out.Write(b) }

func (s *stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(peerOfStream) }
func (s *stream) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(localOfStream) }

var (
	peerOfStream  = netip.MustParseAddrPort("10.0.0.1:40000")
	localOfStream = netip.MustParseAddrPort("10.0.0.2:80")
)

// A server answers each line with one line, whatever is in it, up to the first "ask", the first line that is HTTP, or one
// that does not fit.
func FuzzServerLines(f *testing.F) {
	for _, s := range []string{
		"", "\n", "ask N\n", "hold N\nhold M\nask K\nhold late\n", "hello\r\n", "ask\n", "ask \n", "hold  two  words\n", "hold \xff<>\n", "no end",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "hold N\nGET / HTTP/1.0\n\nrest", "GET / HTTP/1.1\r\nno end", "hold " + strings.Repeat("x", maxLine) + "\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := &server{name: "default/web"}
		conn := &stream{}
		conn.in.Reset(text)
		s.converse(conn)
		out, http, _ := strings.Cut(conn.out.String(), "HTTP/1.1 200 OK\r\n")
		answers := strings.SplitAfter(out, "\n")
		require.Empty(t, answers[len(answers)-1], "each answer is a line")
		for i, answer := range answers[:len(answers)-1] {
			request, rest, _ := bytes.Cut(text, []byte("\n"))
			text = rest
			var l line
			require.NoError(t, json.Unmarshal([]byte(answer), &l), "%q", answer)
			word, nonce, two := strings.Cut(strings.TrimRight(string(request), "\r\n"), " ")
			if !two || word != askWord && word != holdWord {
				nonce = strings.TrimRight(string(request), "\r\n")
			}
			want := line{Server: "default/web", Peer: peerOfStream, Local: localOfStream, Nonce: strings.ToValidUTF8(nonce, "\ufffd")}
			require.Equal(t, readable(want), readable(l))
			if word == askWord {
				require.Len(t, answers[:len(answers)-1], i+1, "the server closes after ask")
			}
		}
		if http != "" {
			require.Contains(t, http, `"server":"default/web"`)
		}
	})
}

// readable gives each run of bytes that were no UTF-8 one sign.
func readable(l line) line {
	for strings.Contains(l.Nonce, "\ufffd\ufffd") {
		l.Nonce = strings.ReplaceAll(l.Nonce, "\ufffd\ufffd", "\ufffd")
	}
	return l
}

// A client takes the answer with its nonce and none else, and whatever else comes is a failure that tells of itself.
func FuzzClientLines(f *testing.F) {
	for _, s := range []string{
		"", "\n", "{}\n", `{"server":"web","peer":"10.0.0.1:4000","local":"10.0.0.2:80","nonce":"N"}` + "\n", `{"nonce":"M"}` + "\n" + `{"nonce":"N"}` + "\n",
		`{"nonce":"N"`, `{"peer":7}` + "\n", "220 smtp\n", `{"peer":"nowhere"}` + "\n", strings.Repeat("x", maxLine+10), "[]\n", "null\nnull\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		server := os.NewFile(uintptr(pair[1]), "server")
		c := &Conn{tuple: nat.TupleOf(nat.TCP, peerOfStream, localOfStream), made: true, file: os.NewFile(uintptr(pair[0]), "client")}
		c.raw, err = c.file.SyscallConn()
		require.NoError(t, err)
		go func() {
			_, _ = server.Write(text) // the client may end first
			_ = server.Close()
		}()
		a, err := c.Receive(context.Background(), "N")
		require.NoError(t, c.Close())
		if err == nil {
			require.Contains(t, string(text), "N", "an answer has the nonce")
			return
		}
		require.Zero(t, a)
		var failure *Failure
		require.ErrorAs(t, err, &failure)
		require.NotEmpty(t, failure.Error())
	})
}
