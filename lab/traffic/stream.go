package traffic

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	mrand "math/rand/v2"
	"net"
	"strconv"
	"strings"

	"natlab/nat"
)

// Streamed is what came of a Stream.
type Streamed struct {
	Answer Answer
	Sent   [sha256.Size]byte // of the bytes that were sent
	Got    [sha256.Size]byte // of those that came back
}

// Whole reports whether what came back is what was sent, byte for byte.
func (s Streamed) Whole() bool { return s.Sent == s.Got }

// Stream sends size bytes that chance chose on a TCP Conn that Open made, while its server sends them back as they come. Where fewer
// came back than were sent, there is a Failure.
func (c *Conn) Stream(ctx context.Context, size int64) (s Streamed, err error) {
	if c.tuple.Proto() != nat.TCP {
		return s, fmt.Errorf("a stream is TCP's, and this is %s", c.tuple.Proto())
	}
	defer c.until(ctx)()
	nonce := rand.Text()
	if err := c.write([]byte(streamWord + " " + strconv.FormatInt(size, 10) + " " + nonce + "\n")); err != nil {
		return s, c.failure(err)
	}
	if s.Answer, err = c.receive(nonce); err != nil {
		return s, err
	}
	sent, got := sha256.New(), sha256.New()
	wrote := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.MultiWriter(c.file, sent), content(), size)
		wrote <- err
	}()
	n, readErr := io.Copy(got, io.LimitReader(io.MultiReader(strings.NewReader(string(c.pending)), c.file), size))
	c.pending = nil
	if readErr != nil || n < size {
		_ = c.file.SetDeadline(longAgo) // nobody reads what is still to be written
	}
	writeErr := <-wrote
	sum(&s.Sent, sent)
	sum(&s.Got, got)
	switch {
	case readErr != nil:
		return s, c.failure(readErr)
	case n < size:
		return s, c.failure(fmt.Errorf("%d of %d bytes came back: %w", n, size, io.ErrUnexpectedEOF))
	case writeErr != nil:
		return s, c.failure(writeErr)
	}
	return s, nil
}

func sum(into *[sha256.Size]byte, of hash.Hash) { copy(into[:], of.Sum(nil)) }

// content is bytes without end that no two streams have alike.
func content() io.Reader {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // it never fails
	return mrand.NewChaCha8(seed)
}

// stream answers a request for one, and then sends back what comes. It reports whether the connection can go on.
func (s *server) stream(in io.Reader, conn net.Conn, request string) bool {
	size, nonce, _ := strings.Cut(strings.TrimPrefix(request, streamWord+" "), " ")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 0 {
		return false
	}
	if _, err := conn.Write(s.answer(holdWord+" "+nonce, addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr()))); err != nil {
		return false
	}
	_, err = io.CopyN(conn, in, n)
	return err == nil
}
