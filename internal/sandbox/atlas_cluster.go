package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AtlasCluster scripts a replica set in Atlas.
type AtlasCluster struct {
	Name      string        `json:"name"`
	State     string        `json:"state,omitempty"` // default IDLE
	Paused    bool          `json:"paused,omitempty"`
	Version   string        `json:"version,omitempty"` // default 8.0.12
	NoBackup  bool          `json:"no_backup,omitempty"`
	DiskGB    float64       `json:"disk_gb,omitempty"`    // default 40
	Members   int           `json:"members,omitempty"`    // default 3
	NoPrimary bool          `json:"no_primary,omitempty"` // no member is seen as primary
	SeenAgo   time.Duration `json:"seen_ago,omitempty"`   // how long ago the members were heard of; default 5 s
}

// AtlasSlowQuery scripts one slow operation, seen by the first member.
type AtlasSlowQuery struct {
	Cluster   string        `json:"cluster"`
	Namespace string        `json:"namespace"`
	Took      time.Duration `json:"took"`
	Ago       time.Duration `json:"ago"`
	NoMetrics bool          `json:"no_metrics,omitempty"` // only the log line tells how long it took, as older versions do
}

// AtlasIndex scripts an index that the Performance Advisor suggests.
type AtlasIndex struct {
	Cluster   string   `json:"cluster"`
	Namespace string   `json:"namespace"`
	Fields    []string `json:"fields"` // "name" ascends, "-name" descends
	Weight    float64  `json:"weight,omitempty"`
}

func (c AtlasCluster) withDefaults() AtlasCluster {
	c.State = pick(c.State == "", "IDLE", c.State)
	c.Version = pick(c.Version == "", "8.0.12", c.Version)
	c.DiskGB = pick(c.DiskGB == 0, 40, c.DiskGB)
	c.Members = pick(c.Members == 0, 3, c.Members)
	c.SeenAgo = pick(c.SeenAgo == 0, 5*time.Second, c.SeenAgo)
	return c
}

// alias is the host by which connection strings name a member, hostname the one of the process.
func (c AtlasCluster) alias(member int) string {
	return fmt.Sprintf("%s-shard-00-%02d.abcde.mongodb.net", strings.ToLower(c.Name), member)
}

func (c AtlasCluster) hostname(member int) string {
	return fmt.Sprintf("atlas-%s-shard-00-%02d.abcde.mongodb.net", strings.ToLower(c.Name), member)
}

func (c AtlasCluster) show() object {
	var hosts []string
	for i := range c.Members {
		hosts = append(hosts, c.alias(i)+":27017")
	}
	strs := object{}
	if !c.Paused {
		strs = object{
			"standard":    "mongodb://" + strings.Join(hosts, ",") + "/?ssl=true&authSource=admin&replicaSet=atlas-" + strings.ToLower(c.Name) + "-shard-0",
			"standardSrv": "mongodb+srv://" + strings.ToLower(c.Name) + ".abcde.mongodb.net",
		}
	}
	region := object{"providerName": "GCP", "regionName": "WESTERN_EUROPE", "electableSpecs": object{"diskSizeGB": c.DiskGB, "instanceSize": "M30", "nodeCount": c.Members}}
	return object{
		"name": c.Name, "groupId": AtlasProject, "stateName": c.State, "paused": c.Paused, "mongoDBVersion": c.Version,
		"backupEnabled": !c.NoBackup, "clusterType": "REPLICASET", "connectionStrings": strs,
		"replicationSpecs": []object{{"regionConfigs": []object{region}}},
	}
}

func (c AtlasCluster) processes() []object {
	var all []object
	for i := range c.Members {
		kind := pick(i == 0 && !c.NoPrimary, "REPLICA_PRIMARY", "REPLICA_SECONDARY")
		all = append(all, object{
			"id": c.hostname(i) + ":27017", "hostname": c.hostname(i), "port": 27017, "userAlias": c.alias(i), "groupId": AtlasProject,
			"replicaSetName": "atlas-" + strings.ToLower(c.Name) + "-shard-0", "typeName": kind, "version": c.Version,
			"lastPing": time.Now().Add(-c.SeenAgo).UTC().Truncate(time.Second),
		})
	}
	return all
}

func (a *atlas) cluster(name string) (AtlasCluster, bool) {
	i := slices.IndexFunc(a.clusters, func(c AtlasCluster) bool { return c.Name == name })
	if i < 0 {
		return AtlasCluster{}, false
	}
	return a.clusters[i], true
}

func atlasNoCluster(name string) (int, any) {
	return atlasRefuses(http.StatusNotFound, "CLUSTER_NOT_FOUND", fmt.Sprintf("No cluster named %s exists in group %s.", name, AtlasProject), name, AtlasProject)
}

func (a *atlas) showCluster(r *http.Request) (int, any) {
	c, ok := a.cluster(r.PathValue("cluster"))
	if !ok {
		return atlasNoCluster(r.PathValue("cluster"))
	}
	return http.StatusOK, c.show()
}

func (a *atlas) listProcesses(r *http.Request) (int, any) {
	var all []object
	for _, c := range a.clusters {
		all = append(all, c.processes()...)
	}
	return atlasPage(a, r, all)
}

// window reads since and duration, in milliseconds.
func window(r *http.Request) (from, to time.Time) {
	since, _ := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
	duration, _ := strconv.ParseInt(r.URL.Query().Get("duration"), 10, 64)
	from = time.UnixMilli(since)
	return from, from.Add(time.Duration(duration) * time.Millisecond)
}

func (a *atlas) slowQueries(r *http.Request) (int, any) {
	from, to := window(r)
	shown := []object{}
	known := false
	for _, c := range a.clusters {
		first := c.hostname(0)+":27017" == r.PathValue("process")
		known = known || slices.ContainsFunc(c.processes(), func(p object) bool { return p["id"] == r.PathValue("process") })
		for _, q := range a.slow {
			at := time.Now().Add(-q.Ago)
			if first && q.Cluster == c.Name && !at.Before(from) && at.Before(to) {
				shown = append(shown, q.show(at))
			}
		}
	}
	if !known {
		return atlasRefuses(http.StatusNotFound, "HOST_NOT_FOUND", "There is no such process.", r.PathValue("process"))
	}
	most := atlasNumber(r.URL.Query(), "nLogs", 20000)
	return http.StatusOK, object{"slowQueries": shown[:min(max(most, 0), len(shown))]}
}

func (q AtlasSlowQuery) show(at time.Time) object {
	line := fmt.Sprintf(`{"t":{"$date":%q},"s":"I","c":"COMMAND","id":51803,"msg":"Slow query","attr":{"ns":%q,"command":{"find":"x","filter":{"email":"secret@example.com"}},"durationMillis":%d}}`,
		at.UTC().Format(time.RFC3339Nano), q.Namespace, q.Took.Milliseconds())
	out := object{"line": line, "namespace": q.Namespace, "opType": "find"}
	if !q.NoMetrics {
		out["metrics"] = object{"operationExecutionTime": q.Took.Milliseconds(), "docsExamined": 90000, "docsReturned": 3}
	}
	return out
}

func (a *atlas) suggestedIndexes(r *http.Request) (int, any) {
	name := r.PathValue("cluster")
	if _, ok := a.cluster(name); !ok {
		return atlasNoCluster(name)
	}
	shown := []object{}
	for i, x := range a.indexes {
		if x.Cluster != name {
			continue
		}
		var keys []object
		for _, f := range x.Fields {
			field, descends := strings.CutPrefix(f, "-")
			keys = append(keys, object{field: pick(descends, -1, 1)})
		}
		shown = append(shown, object{"id": fmt.Sprintf("%024x", i+1), "namespace": x.Namespace, "index": keys, "weight": x.Weight, "impact": []string{}})
	}
	return http.StatusOK, object{"shapes": []object{}, "suggestedIndexes": shown}
}
