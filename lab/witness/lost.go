package witness

import (
	"bytes"
	"strconv"
)

// countLost sums up what did not fit into the sockets, was dropped for want of room in a queue, or is missing from the
// log's numbering. What did not fit into the log's socket is missing there too, but nothing tells so before a next message.
func (m *member) countLost() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return m.lostAtClose
	}
	return m.countLostLocked()
}

func (m *member) countLostLocked() uint64 {
	n := m.planeSaw.Lost
	for _, s := range m.sockets() {
		lost := s.dropped()
		if s == m.log {
			lost = max(lost, m.logLost)
		}
		n += lost
	}
	if m.queueFile != nil {
		size, err := m.queueFile.ReadAt(m.buf, 0)
		if size > 0 || err == nil {
			n += queueDrops(m.buf[:size])
		}
	}
	return n
}

// queueDrops adds up queue_dropped and queue_user_dropped, the sixth and seventh number of each line (nfqnl's seq_show).
func queueDrops(b []byte) uint64 { return queueColumns(b, 5, 7) }

// queueColumns adds up the numbers of columns from to below of each line.
func queueColumns(b []byte, from, below int) uint64 {
	var sum uint64
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) < below {
			continue
		}
		for _, word := range f[from:below] {
			n, err := strconv.ParseUint(string(word), 10, 64)
			if err == nil {
				sum += n
			}
		}
	}
	return sum
}
