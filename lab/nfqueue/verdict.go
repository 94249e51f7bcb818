package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Verdicts of linux/netfilter.h.
const (
	verdictDrop   = 0
	verdictAccept = 1
	verdictQueue  = 3  // NF_QUEUE
	numberShift   = 16 // NF_VERDICT_QBITS: the other queue's number is above
)

// Accept lets a packet go on as it is, with a mark.
func (q *Queue) Accept(p *Packet, mark uint32) error { return q.decide(p, verdictAccept, mark) }

// Drop ends a packet here.
func (q *Queue) Drop(p *Packet) error { return q.decide(p, verdictDrop, p.held) }

// Requeue hands a packet to another queue of the namespace, with a mark.
func (q *Queue) Requeue(p *Packet, to uint16, mark uint32) error {
	return q.decide(p, verdictQueue|uint32(to)<<numberShift, mark)
}

// Rewrite lets a packet go on as payload, with a mark. Its checksums have to be complete: the kernel takes them as they are (nfqnl_mangle
// makes the packet CHECKSUM_NONE).
func (q *Queue) Rewrite(p *Packet, mark uint32, payload []byte) error {
	q.endRun()
	at := q.verdict(messageVerdict, verdictAccept, p.ID)
	if mark != p.held {
		q.out = appendUint32(q.out, attrMark, mark)
	}
	q.out = finish(appendAttribute(q.out, attrPayload, payload), at)
	return q.flushFull()
}

// decide gives a packet a verdict that leaves its bytes alone. What comes behind it with the same verdict is told in the same message.
func (q *Queue) decide(p *Packet, verdict, mark uint32) error {
	r := &q.run
	marked := mark != p.held
	if r.count > 0 && r.verdict == verdict && r.marked == marked && (!marked || r.mark == mark) {
		r.count, r.last = r.count+1, p.ID
		return nil
	}
	q.endRun()
	q.run = run{count: 1, verdict: verdict, mark: mark, marked: marked, last: p.ID}
	return q.flushFull()
}

// endRun makes a message of the run. That for several is about all that wait up to the last of them: those in front have their verdicts by then.
func (q *Queue) endRun() {
	r := q.run
	if r.count == 0 {
		return
	}
	kind := uint16(messageVerdict)
	if r.count > 1 {
		kind = messageVerdictBatch
	}
	at := q.verdict(kind, r.verdict, r.last)
	if r.marked {
		q.out = appendUint32(q.out, attrMark, r.mark)
	}
	q.out = finish(q.out, at)
	q.run = run{}
}

// verdict begins a message of a verdict.
func (q *Queue) verdict(kind uint16, verdict, id uint32) (at int) {
	at = len(q.out)
	q.out = appendHeader(q.out, kind, 0, q.number)
	var head [8]byte
	binary.BigEndian.PutUint32(head[:], verdict)
	binary.BigEndian.PutUint32(head[4:], id)
	q.out = appendAttribute(q.out, attrVerdictHeader, head[:])
	return at
}

func (q *Queue) flushFull() error {
	if len(q.out) >= full {
		return q.Flush()
	}
	return nil
}

// Flush hands the verdicts that wait to the kernel, which carries each out at once. Serve does so behind each batch.
func (q *Queue) Flush() error {
	q.endRun()
	if len(q.out) == 0 {
		return nil
	}
	for {
		_, err := unix.Write(q.fd, q.out)
		switch {
		case errors.Is(err, unix.EINTR):
		case err == nil, errors.Is(err, unix.ENOENT):
			q.out = q.out[:0]
			return nil
		default:
			return fmt.Errorf("verdicts of NFQUEUE %d: %w", q.number, err)
		}
	}
}
