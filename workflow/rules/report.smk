# Score every artefact, put the scores together, and show them.


rule scores:
    input:
        unpack(plan.score_inputs),
    output:
        f"{RUN}/scores/{{kind}}/{{name}}/manifest.json",
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
        command=plan.command("scores"),
        tee=plan.tee,
    message:
        "Scoring {wildcards.kind} {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


rule summary:
    input:
        unpack(plan.summary_inputs),
    output:
        f"{BASE}/manifest.json",
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
        command=plan.command("summary"),
        tee=plan.tee,
    message:
        "Summary of {wildcards.dataset}"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


rule report:
    input:
        unpack(plan.report_inputs),
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
        command=plan.command("report"),
        tee=plan.tee,
    message:
        "Report of {wildcards.dataset}"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"
