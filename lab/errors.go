package lab

import "errors"

// What a caller may want to tell apart, by errors.Is.
var (
	// ErrNoLab is the answer for a name under which nothing stands. Who takes labs away may take it for success.
	ErrNoLab = errors.New("there is no such lab")
	// ErrExists is the answer to Up and Start for a name that is in use, be it by a lab that is only half there.
	ErrExists = errors.New("the name is in use")
	// ErrDead is the answer to Open for a lab whose process has ended: Down is all that can be done with it.
	ErrDead = errors.New("is dead")
	// ErrRewire is the answer to Apply for a cluster that would need another lab.
	ErrRewire = errors.New("a running lab keeps its nodes, pods and links: natlab down and natlab up make it anew")
	// ErrGone is why what was done with a lab ended: somebody took the lab away meanwhile.
	ErrGone = errors.New("was taken away meanwhile")
)
