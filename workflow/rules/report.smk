# Score every artefact, put the scores together, and show them.


rule scores:
    input:
        unpack(plan.score_inputs),
    output:
        f"{RUN}/scores/{{kind}}/{{name}}/manifest.json",
        f"{RUN}/scores/{{kind}}/{{name}}/scores.json",
        f"{RUN}/scores/{{kind}}/{{name}}/scores.csv",
    log:
        "logs/{dataset}/s{seed}/scores/{kind}/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/scores/{kind}/{name}.tsv"
    conda:
        "../../envs/environment.yml"
    threads: min(4, CORES)
    resources:
        mem_mb=NEEDS["scores"].memory,
        runtime=NEEDS["scores"].minutes,
    params:
        settings=plan.settings("scores"),
        code=plan.code("scores"),
        run=plan.program("scores"),
        inputs=plan.score_flags,
        out=plan.out,
        tee=plan.tee,
    message:
        "Scoring {wildcards.kind} {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.out:q} 2>&1 | {params.tee} {log:q}"


rule summary:
    input:
        unpack(plan.summary_inputs),
    output:
        report(
            f"{BASE}/summary.md",
            caption="../report/summary.rst",
            category="Results",
        ),
        report(
            f"{BASE}/summary.csv",
            caption="../report/summary.rst",
            category="Results",
        ),
        directory(f"{BASE}/panels"),
        f"{BASE}/manifest.json",
    log:
        "logs/{dataset}/summary.log",
    benchmark:
        "logs/{dataset}/summary.tsv"
    conda:
        "../../envs/environment.yml"
    threads: min(4, CORES)
    resources:
        mem_mb=NEEDS["summary"].memory,
        runtime=NEEDS["summary"].minutes,
    params:
        settings=plan.settings("summary"),
        code=plan.code("summary"),
        run=plan.program("summary"),
        inputs=plan.summary_flags,
        out=plan.out,
        tee=plan.tee,
    message:
        "Summary of {wildcards.dataset}"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --threads {threads}"
        " --out {params.out:q} --state {params.out:q} 2>&1 | {params.tee} {log:q}"


rule report:
    input:
        unpack(plan.summary_inputs),
    output:
        f"{BASE}/report/manifest.json",
        f"{BASE}/report/pictures.csv",
        report(
            f"{BASE}/report.html",
            caption="../report/report.rst",
            category="Results",
        ),
    log:
        "logs/{dataset}/report.log",
    benchmark:
        "logs/{dataset}/report.tsv"
    conda:
        "../../envs/environment.yml"
    threads: min(4, CORES)
    resources:
        mem_mb=NEEDS["report"].memory,
        runtime=NEEDS["report"].minutes,
    params:
        code=plan.code("report"),
        run=plan.program("report"),
        inputs=plan.report_flags,
        out=plan.out,
        tee=plan.tee,
    message:
        "Report of {wildcards.dataset}"
    shell:
        "{params.run} {params.inputs} --threads {threads}"
        " --out {params.out:q} --state {params.out:q} 2>&1 | {params.tee} {log:q}"
