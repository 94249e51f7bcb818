package lab

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// Progress is told how far a lab is: the step of which a part was done last, and how many parts of all steps are done.
// An empty step is the end. It is called from many goroutines, one at a time.
type Progress func(step string, done, total int)

// Bar is the two characters that a progress bar is drawn of: for what is done, and for what is not.
type Bar string

// The bars: of blocks, and for a terminal that has ASCII alone.
const (
	Blocks Bar = "█░"
	Signs  Bar = "#."
)

// ShowProgress draws Progress on one line of a terminal, which is cleared when the last step is done. On anything else
// it is nil, which is silent.
func ShowProgress(w io.Writer, of Bar) Progress {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	signs := []rune(of)
	return func(step string, done, total int) {
		const clear, width = "\r\x1b[K", 24
		if step == "" {
			_, _ = io.WriteString(w, clear) // a terminal that went away shows nothing
			return
		}
		bar := make([]rune, width)
		for i := range bar {
			bar[i] = signs[1]
			if i*max(total, 1) < done*width {
				bar[i] = signs[0]
			}
		}
		_, _ = fmt.Fprintf(w, "%s%-22s %s %d/%d", clear, step, string(bar), done, total)
	}
}

// progress counts the parts of all steps.
type progress struct {
	tell  Progress
	total int

	mu    sync.Mutex
	count int // under mu
}

// done tells that one part of a step is done, well or not.
func (p *progress) done(step string) {
	if p.tell == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	p.tell(step, p.count, p.total)
}

// end tells that nothing more will come.
func (p *progress) end() {
	if p.tell != nil {
		p.tell("", 0, 0)
	}
}
