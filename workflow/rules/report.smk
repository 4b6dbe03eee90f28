# Score every artefact, put the scores together, and show them.


rule scores:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        artefact=stage.reads("artefact"),
    output:
        f"{BASE}/s{{seed}}/scores/{{kind}}/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/scores/{kind}/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/scores/{kind}/{name}.tsv"
    group:
        stage.group
    conda:
        "../../envs/environment.yml"
    threads: stage.threads
    resources:
        gpu=stage.gpus,
        gpu_model=stage.gpu_model,
        gres=stage.gres,
        mem_mb=stage.memory,
        runtime=stage.minutes,
    params:
        command=stage.command,
        title=stage.title,
    message:
        "{params.title}"
    shell:
        COMMAND


rule summary:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        scores=stage.reads("scores"),
        pictured=stage.pictures,
    output:
        f"{BASE}/manifest.json",
        report(
            f"{BASE}/summary.md", caption="../report/summary.rst", category="Results"
        ),
        report(
            f"{BASE}/summary.csv", caption="../report/summary.rst", category="Results"
        ),
        directory(f"{BASE}/panels"),
    log:
        "logs/{dataset}/summary.log",
    benchmark:
        "logs/{dataset}/summary.tsv"
    conda:
        "../../envs/environment.yml"
    threads: stage.threads
    resources:
        gpu=stage.gpus,
        gpu_model=stage.gpu_model,
        gres=stage.gres,
        mem_mb=stage.memory,
        runtime=stage.minutes,
    params:
        command=stage.command,
        title=stage.title,
    message:
        "{params.title}"
    shell:
        COMMAND


use rule index as report with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        scores=stage.reads("scores"),
        pictured=stage.pictures,
    output:
        f"{BASE}/{{folder,report}}/manifest.json",
        f"{BASE}/{{folder}}/pictures.csv",
        report(
            f"{BASE}/{{folder}}.html",
            caption="../report/report.rst",
            category="Results",
        ),
