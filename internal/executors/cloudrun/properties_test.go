package cloudrun

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

func drawCount(t *rapid.T, name string) count {
	n := rapid.Int64Range(0, 5000).Draw(t, name)
	return count{Requests: n, Errors: rapid.Int64Range(0, n).Draw(t, name+" errors")}
}

func drawTrial(t *rapid.T) trial {
	return trial{
		New: "api-7", Old: "api-6", Least: rapid.Int64Range(1, 200).Draw(t, "least"), Lagging: rapid.Bool().Draw(t, "lagging"),
		Now: drawCount(t, "now"), While: drawCount(t, "while"), Before: drawCount(t, "before"), Lately: drawCount(t, "lately"), Beside: drawCount(t, "beside"),
	}
}

func TestPropertyErrorsAsACause(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		trial := drawTrial(t)
		_, err := trial.judge()
		if err != nil {
			return
		}
		ratio := trial.Now.errorRatio()
		if trial.Now.Requests < trial.Least || trial.While.Requests < trial.Least {
			t.Fatalf("too few requests: %+v", trial)
		}
		for _, then := range []count{trial.While, trial.Before, trial.Lately, trial.Beside} {
			if then.Requests >= trial.Least && (ratio < 2*then.errorRatio() || ratio < then.errorRatio()+0.01) {
				t.Fatalf("not clearly worse than %+v: %+v", then, trial)
			}
		}
	})
}

// TestPropertyLessEvidenceNeverAdds: what fails less, or is compared with what failed more, is not rolled back where it was not before.
func TestPropertyLessEvidenceNeverAdds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before := drawTrial(t)
		after := before
		switch rapid.SampledFrom([]string{"healthier", "fewer asked", "worse before", "worse beside", "worse while"}).Draw(t, "what") {
		case "healthier":
			after.Now.Errors = rapid.Int64Range(0, before.Now.Errors).Draw(t, "errors")
		case "fewer asked":
			after.Least += rapid.Int64Range(0, 500).Draw(t, "more needed")
			after.Before, after.Lately, after.Beside = count{}, count{}, count{} // a comparison that falls away is no loss of evidence here
			before.Before, before.Lately, before.Beside = count{}, count{}, count{}
		case "worse before":
			after.Before.Errors = rapid.Int64Range(before.Before.Errors, before.Before.Requests).Draw(t, "errors")
		case "worse beside":
			after.Beside.Errors = rapid.Int64Range(before.Beside.Errors, before.Beside.Requests).Draw(t, "errors")
		default:
			after.While.Errors = rapid.Int64Range(before.While.Errors, before.While.Requests).Draw(t, "errors")
		}
		_, was := before.judge()
		_, is := after.judge()
		if was != nil && is == nil {
			t.Fatalf("refused %+v (%v), and allowed %+v", before, was, after)
		}
	})
}

// drawRecord is a service with up to seven revisions, the newest of which serves, and a history in which any of them led.
func drawRecord(t *rapid.T) record {
	n := rapid.IntRange(1, 7).Draw(t, "revisions")
	serving := "api-" + strconv.Itoa(n)
	rec := record{Service: serves(serving), Least: 20}
	for i := 1; i <= n; i++ {
		name := "api-" + strconv.Itoa(i)
		r := rev(name, time.Duration(n+1-i)*5*time.Hour)
		switch rapid.IntRange(0, 5).Draw(t, name) {
		case 0:
			notReady(r)
		case 1:
			deleted(r)
		case 2:
			copyOf("api-" + strconv.Itoa(rapid.IntRange(1, i).Draw(t, name+" of")))(r)
		default:
		}
		if rapid.IntRange(0, 4).Draw(t, name+" tagged") == 0 {
			rec.Service.Traffic = append(rec.Service.Traffic, &runpb.TrafficTarget{Type: toRevision, Revision: name, Tag: "t" + name})
		}
		rec.Revisions = append(rec.Revisions, r)
	}
	bad := rapid.SliceOfN(rapid.IntRange(1, n), 0, 2).Draw(t, "known bad")
	var names []string
	for _, i := range bad {
		names = append(names, "api-"+strconv.Itoa(i))
	}
	rec.Service.Annotations = map[string]string{markKnownBad: strings.Join(names, " ")}
	var periods []map[string]count
	for range rapid.IntRange(0, 30).Draw(t, "hours") {
		period := map[string]count{}
		for i := 1; i <= n; i++ {
			if c := drawCount(t, "hour"); rapid.Bool().Draw(t, "asked") && c.Requests > 0 {
				period["api-"+strconv.Itoa(i)] = c
			}
		}
		periods = append(periods, period)
	}
	rec.History = hours(periods...)
	return rec
}

func TestPropertyOfDestinations(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rec := drawRecord(t)
		serving := short(rec.Revisions[len(rec.Revisions)-1].GetName())
		best, _ := rec.previous(serving)
		shuffled := rec
		shuffled.Revisions = rapid.Permutation(rec.Revisions).Draw(t, "order")
		if again, _ := shuffled.previous(serving); again.Name != best.Name {
			t.Fatalf("listed in another order, %s instead of %s", again.Name, best.Name)
		}
		if best.Name == "" {
			return
		}
		dest := rec.find(best.Name)
		carried := rec.carried(best.Name)
		switch {
		case !ready(dest) || dest.GetDeleteTime() != nil || best.Name == serving || rec.root(dest) == rec.root(rec.find(serving)):
			t.Fatalf("%s is no destination", best.Name)
		case slices.Contains(knownBad(rec.Service), best.Name) || slices.Contains(knownBad(rec.Service), short(rec.root(dest).GetName())):
			t.Fatalf("%s is known bad", best.Name)
		case carried.Requests < rec.Least || carried.errorRatio() > healthyErrors:
			t.Fatalf("%s carried %+v", best.Name, carried)
		}
		rec.Service.Annotations[markKnownBad] += " " + best.Name
		if next, _ := rec.previous(serving); next.Name == best.Name {
			t.Fatalf("%s is chosen although it is known bad", best.Name)
		}
	})
}

func TestPropertyOfMarks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rec := drawRecord(t)
		names := []string{"api-9"}
		for _, r := range rec.Revisions {
			names = append(names, short(r.GetName()))
		}
		serving := names[len(names)-1]
		good := rapid.SampledFrom(names[1:]).Draw(t, "good")
		marks := map[string]string{}
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(names), func(s string) string { return s }).Draw(t, "marks") {
			marks[name] = "x"
		}
		no := mayGoBack(marks, rec, serving, good)
		from := rec.root(rec.find(good)).GetCreateTime().AsTime()
		past := len(marks) > 0 && rec.find("api-9") == nil && marks["api-9"] != ""
		for name := range marks {
			r := rec.find(name)
			past = past || name == serving || r == rec.root(rec.find(serving)) || r != nil && r.GetCreateTime().AsTime().After(from)
		}
		if past != (no != nil) {
			t.Fatalf("marks %v, from %s to %s: %v", marks, serving, good, no)
		}
		marks[rapid.SampledFrom(names).Draw(t, "one more")] = "y"
		if more := mayGoBack(marks, rec, serving, good); no != nil && more == nil {
			t.Fatalf("a mark more, and it is allowed: %v", marks)
		}
	})
}

func TestPropertyOfHands(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := serves("api-7")
		at := noon.Add(time.Duration(rapid.Int64Range(-3600, 3600).Draw(t, "changed")) * time.Second)
		s.UpdateTime = timestamppb.New(at)
		env := executors.Env{Now: noon.Add(time.Hour), Onset: noon}
		ours := rapid.Bool().Draw(t, "ours")
		if ours {
			s.Annotations = map[string]string{markGeneration: strconv.FormatInt(s.GetGeneration(), 10)}
		}
		late := at.After(noon.Add(clockSkew + coarseTime))
		_, err := free(env, s)
		if refusesAs(err, guard.HumanHand) != (late && !ours) || err != nil && !refusesAs(err, guard.HumanHand) {
			t.Fatalf("changed at %s, ours %t: %v", at, ours, err)
		}
		stranger := proto.CloneOf(s)
		stranger.Generation, stranger.ObservedGeneration = s.Generation+1, s.Generation+1
		if _, again := free(env, stranger); late && !refusesAs(again, guard.HumanHand) {
			t.Fatalf("a change after ours at %s: %v", at, again)
		}
		onLabel, value := rapid.Bool().Draw(t, "on the label"), rapid.String().Draw(t, "value")
		if onLabel {
			s.Labels = map[string]string{hold: value}
		} else {
			s.Annotations = map[string]string{hold: value}
		}
		if _, err := free(env, s); !refusesAs(err, guard.Held) {
			t.Fatalf("held, and yet: %v", err)
		}
	})
}

func refusesAs(err error, reason guard.Reason) bool {
	var r *guard.Refusal
	return errors.As(err, &r) && r.Reason == reason
}

func TestPropertyOfScaling(t *testing.T) {
	t.Parallel()
	number := rapid.Int32Range(0, 120)
	rapid.Check(t, func(t *rapid.T) {
		was := levels{
			Service:  bounds{number.Draw(t, "service min"), number.Draw(t, "service max")},
			Revision: bounds{number.Draw(t, "revision min"), number.Draw(t, "revision max")},
		}
		a := &scale{AtLeast: number.Draw(t, "at least"), AtMost: number.Draw(t, "at most")}
		limit := number.Draw(t, "limit")
		is := was.raise(a)
		for name, pair := range map[string][3]int32{
			"service min": {was.Service.Min, is.Service.Min, a.AtLeast}, "service max": {was.Service.Max, is.Service.Max, a.AtMost},
			"revision min": {was.Revision.Min, is.Revision.Min, a.AtLeast}, "revision max": {was.Revision.Max, is.Revision.Max, a.AtMost},
		} {
			if before, after, asked := pair[0], pair[1], pair[2]; after < before || after > max(before, asked) {
				t.Fatalf("%s from %d to %d, asked for %d", name, before, after, asked)
			}
		}
		if is.most() < was.most() && is.most() > 0 {
			t.Fatalf("an upper bound lowered: %+v to %+v", was, is)
		}
		if err := a.judge(was, is, limit); err != nil {
			return
		}
		if limit > 0 && (is.Service.Min > max(limit, was.Service.Min) || is.Service.Max > max(limit, was.Service.Max)) || is.most() > 0 && a.AtLeast > is.most() {
			t.Fatalf("beyond the bounds: %+v to %+v by %+v, limit %d", was, is, a, limit)
		}
	})
}

func TestPropertyOfContradictions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := serves("api-7")
		share := rapid.Int32Range(0, 100).Draw(t, "share")
		other := fmt.Sprint("api-", rapid.IntRange(5, 7).Draw(t, "other"))
		s.Traffic = []*runpb.TrafficTarget{{Type: toLatest, Percent: 100 - share}, {Type: toRevision, Revision: other, Percent: share}}
		s.TrafficStatuses = []*runpb.TrafficTargetStatus{{Type: toRevision, Revision: other, Percent: share}, {Type: toLatest, Percent: 100 - share}}
		if why := contradiction(s); why != "" {
			t.Fatalf("in another order: %s", why)
		}
		moved := rapid.Int32Range(0, 100).Draw(t, "moved")
		s.TrafficStatuses[0].Percent, s.TrafficStatuses[1].Percent = moved, 100-moved
		same := moved == share || other == "api-7"
		if why := contradiction(s); (why == "") != same {
			t.Fatalf("told %d %%, shows %d %% of %s: %q", share, moved, other, why)
		}
		s.Reconciling = true
		if why := contradiction(s); why != "" {
			t.Fatalf("on its way, and yet: %s", why)
		}
	})
}
